// Uses the client of openapi-typescript and openapi-fetch against a real server.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./gen/openapi-fetch/schema.js";

const baseUrl = process.argv[2];
assert(baseUrl, "usage: flow_openapi_fetch URL");

let accessToken: string | undefined;
const client = createClient<paths>({ baseUrl });
// Sends the token with every request, as many applications do.
client.use({
  onRequest({ request }) {
    if (accessToken !== undefined) request.headers.set("authorization", `Bearer ${accessToken}`);
    return request;
  },
});

const credentials = { username: "openapi-fetch", password: "Corr3ct-horse battery" };

const registered = await client.POST("/register", { body: credentials });
assert.equal(registered.data?.username, credentials.username);

const taken = await client.POST("/register", { body: credentials });
assert.equal(taken.response.status, 409);
assert.equal(taken.error?.code, "username_taken");

const weak = await client.POST("/register", { body: { username: "openapi-fetch-2", password: "short" } });
assert.equal(weak.response.status, 422);
const violations = weak.error?.errors ?? [];
assert(violations.some(({ pointer, code }) => pointer === "#/password" && code === "too_short"));
assert(violations.every(({ message }) => message.length > 0));

const refused = await client.POST("/login", { body: { ...credentials, password: "Wr0ng-password" } });
assert.equal(refused.response.status, 401);
assert.equal(refused.error?.code, "invalid_credentials");

assert.equal((await client.GET("/me")).error?.code, "missing_token");

const login = await client.POST("/login", { body: credentials });
assert(login.data);
accessToken = login.data.access_token;
assert.equal(login.data.token_type, "Bearer");

const me = await client.GET("/me");
assert.equal(me.data?.id, registered.data?.id);
assert.equal((await client.GET("/protected")).data?.session_id, login.data.session_id);

const sessions = await client.GET("/me/sessions");
const current = sessions.data?.sessions.find((session) => session.current);
assert.equal(current?.id, login.data.session_id);
const userAgent: string | null | undefined = current?.user_agent;
assert.equal(typeof userAgent, "string");

const activity = await client.GET("/me/activity", { params: { query: { limit: 2 } } });
assert.equal(activity.data?.events.length, 2);
for (const event of activity.data.events) {
  const detail: string | null = event.detail;
  assert.equal(detail, event.kind === "login_failed" ? "wrong_password" : null);
}
const cursor = activity.data.next_cursor;
assert(cursor !== null);
const older = await client.GET("/me/activity", { params: { query: { cursor } } });
assert.equal(older.data?.events.at(-1)?.kind, "user_registered");

const refreshed = await client.POST("/refresh", { body: { refresh_token: login.data.refresh_token } });
assert(refreshed.data);
accessToken = refreshed.data.access_token;

const unknown = await client.DELETE("/me/sessions/{id}", { params: { path: { id: crypto.randomUUID() } } });
assert.equal(unknown.error?.code, "not_found");

// Both tokens of the session: the middleware adds the bearer.
const logout = await client.POST("/logout", { body: { refresh_token: refreshed.data.refresh_token } });
assert.equal(logout.response.status, 204);
assert.equal((await client.GET("/me")).error?.code, "invalid_token");
const over = await client.POST("/refresh", { body: { refresh_token: refreshed.data.refresh_token } });
assert.equal(over.error?.code, "invalid_refresh_token");

// Public routes with a token that is no longer valid.
assert.equal((await client.GET("/health")).data?.status, "ok");
assert.equal((await client.GET("/ready")).data?.checks.database, "ok");
const keys = (await client.GET("/.well-known/jwks.json")).data?.keys ?? [];
assert(keys.length > 0);
for (const key of keys) {
  const coordinates: string[] = key.kty === "EC" ? [key.x, key.y] : [key.x];
  assert(coordinates.every((coordinate) => coordinate.length === 43));
}
const again = await client.POST("/login", { body: credentials });
assert.equal(again.response.status, 200);
accessToken = again.data?.access_token;
// A logout by bearer has no body.
assert.equal((await client.POST("/logout", { params: { query: { scope: "all" } } })).response.status, 204);

// Words of a later version.
const later: components["schemas"]["Problem"] = {
  type: "/problems/from_the_future",
  title: "A problem of a later version",
  status: 409,
  detail: "",
  code: "from_the_future",
  request_id: "r",
  errors: [{ pointer: "#", code: "from_the_future", message: "is new" }],
};
const future = createClient<paths>({
  baseUrl,
  fetch: async () => Response.json(later, { status: 409, headers: { "content-type": "application/problem+json" } }),
});
const surprising = await future.POST("/register", { body: credentials });
assert.equal(surprising.error?.code, "from_the_future");
assert.equal(surprising.error?.errors?.[0]?.code, "from_the_future");
console.log("openapi-fetch: register, login, me, refresh, logout and their errors work");
