// Runs the TypeScript snippet of docs/resource-servers.md: its `verify` must accept and refuse these tokens.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { verify } from "./jose_verify.js";

type Case = { name: string; token: string; valid: boolean; user: string; session: string };
const cases = JSON.parse(readFileSync(0, "utf8")) as Case[];
for (const { name, token, valid, user, session } of cases) {
  const claims = await verify(token).catch((error: unknown) => {
    assert(!valid, `${name}: refused: ${error}`);
    return undefined;
  });
  assert.equal(claims !== undefined, valid, `${name}: accepted`);
  if (claims !== undefined) assert.deepEqual([claims.sub, claims["sid"]], [user, session]);
}
console.log(`jose_verify: ${cases.length} tokens are judged correctly`);
