// Uses the client of @hey-api/openapi-ts against a real server.
import assert from "node:assert/strict";
import { createClient } from "./gen/hey-api/client/index.js";
import type { Problem } from "./gen/hey-api/types.gen.js";
import * as api from "./gen/hey-api/sdk.gen.js";

const baseUrl = process.argv[2];
assert(baseUrl, "usage: flow_hey_api URL");

let accessToken = "";
const client = createClient({ baseUrl, auth: () => accessToken });
const body = { username: "hey-api", password: "Corr3ct-horse battery" };

const registered = await api.registerUser({ client, body });
assert.equal(registered.data?.username, body.username);

const taken = await api.registerUser({ client, body });
assert.equal(taken.response?.status, 409);
assert.equal(taken.error?.code, "username_taken");

const weak = await api.registerUser({ client, body: { username: "hey-api-2", password: "short" } });
assert.equal(weak.response?.status, 422);
assert(weak.error?.errors?.some(({ pointer, code }) => pointer === "#/password" && code === "too_short"));

const refused = await api.login({ client, body: { ...body, password: "Wr0ng-password" } });
assert.equal(refused.error?.code, "invalid_credentials");
assert.equal((await api.getMe({ client })).error?.status, 401);

const login = await api.login({ client, body });
assert(login.data);
accessToken = login.data.access_token;
assert.equal((await api.getMe({ client })).data?.id, registered.data?.id);
assert.equal((await api.getTokenClaims({ client })).data?.session_id, login.data.session_id);

const sessions = await api.listSessions({ client });
assert.equal(sessions.data?.sessions.length, 1);
const activity = await api.listActivity({ client, query: { limit: 1 } });
const detail: string | null | undefined = activity.data?.events[0]?.detail;
assert.equal(detail, null);

const refreshed = await api.refreshTokens({ client, body: { refresh_token: login.data.refresh_token } });
assert(refreshed.data);
accessToken = refreshed.data.access_token;

const { refresh_token } = refreshed.data;
const logout = await api.logout({ client, body: { refresh_token } });
assert.equal(logout.response?.status, 204);
assert.equal((await api.getMe({ client })).error?.code, "invalid_token");
assert.equal((await api.refreshTokens({ client, body: { refresh_token } })).error?.code, "invalid_refresh_token");

const again = await api.login({ client, body });
assert(again.data);
accessToken = again.data.access_token;
assert.equal((await api.logout({ client, query: { scope: "all" } })).response?.status, 204);

for (const key of (await api.getJwks({ client })).data?.keys ?? []) {
  assert.equal(key.kty === "EC" ? key.y.length : key.x.length, 43);
}
assert.equal((await api.getReadiness({ client })).data?.status, "ok");
assert.equal((await api.getProblem({ client, path: { code: "from_the_future" } })).error?.code, "not_found");

// Words of a later version.
const later: Problem = {
  type: "/problems/from_the_future",
  title: "A problem of a later version",
  status: 409,
  detail: "",
  code: "from_the_future",
  request_id: "r",
};
const future = createClient({ baseUrl, fetch: async () => Response.json(later, { status: 409 }) });
assert.equal((await api.registerUser({ client: future, body })).error?.code, "from_the_future");
console.log("@hey-api/openapi-ts: register, login, me, refresh, logout and their errors work");
