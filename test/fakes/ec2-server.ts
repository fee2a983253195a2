import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { inspect } from "node:util";
import { CloudError } from "../../lib/clouds/error.ts";
import type { VirtualWorld } from "../virtual-world.ts";
import { soon, until } from "./soon.ts";

type Reply = (body: string, request: IncomingMessage, response: ServerResponse) => void;

/** An HTTP server on loopback that answers every request in one way. */
export async function serve(context: TestContext, reply: Reply): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => reply(Buffer.concat(chunks).toString(), request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The CloudError that a call ends in, which shows no canary. */
export async function failure(work: Promise<unknown>): Promise<CloudError> {
  const error = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof CloudError, inspect(error));
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  assert(!/canary/.test(shown), shown);
  return error;
}

/** Runs until the call has reached the server, then lets its time pass on the world's clock. */
export async function outlasting(
  world: VirtualWorld,
  work: Promise<unknown>,
  options: { readonly reached: () => boolean; readonly ms: number },
): Promise<CloudError> {
  const failed = failure(work);
  await until(options.reached, "the call");
  let over = false;
  void failed.then(() => {
    over = true;
  });
  await world.advance(options.ms - 1);
  for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  assert(!over, "it ended before its time");
  await world.advance(1);
  return soon(failed, "the end of a call whose time is over");
}
