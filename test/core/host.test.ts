import assert from "node:assert/strict";
import { test } from "node:test";
import { isLoopback } from "../../lib/core/host.ts";

for (const host of ["localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "[::1]", "[0:0::1]"]) {
  test(`isLoopback() takes ${host} for this machine`, () => {
    assert.equal(isLoopback(new URL(`http://${host}:8080/v1`)), true);
  });
}

// Anybody may give such a name an address of theirs.
for (const host of [
  "notlocalhost",
  "localhost.example.org",
  "127.0.0.1.example.org",
  "128.0.0.1",
  "10.127.0.1",
  "0.0.0.0",
  "[::]",
  "[::2]",
  "[2001:db8::1]",
]) {
  test(`isLoopback() takes ${host} for another machine`, () => {
    assert.equal(isLoopback(new URL(`http://${host}:8080/v1`)), false);
  });
}
