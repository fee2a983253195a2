import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { inspect } from "node:util";
import { CloudError } from "../../lib/clouds/error.ts";

/** Credentials of which no part may be seen, and the canary that servers quote. */
export const ENVIRONMENT = {
  ALIBABA_CLOUD_ACCESS_KEY_ID: "LTAICANARY",
  ALIBABA_CLOUD_ACCESS_KEY_SECRET: "canary-of-the-access-key-secret",
  ALIBABA_CLOUD_SECURITY_TOKEN: "canary-of-the-security-token",
};
const CANARY = /canary/i;

export interface Asked {
  readonly form: URLSearchParams;
  readonly request: IncomingMessage;
}

export interface Serving {
  readonly url: string;
  readonly asked: readonly Asked[];
  readonly server: Server;
}

/** An HTTP server on loopback that answers every request in one way. */
export async function serve(
  context: TestContext,
  reply: (asked: Asked, response: ServerResponse) => void,
): Promise<Serving> {
  const asked: Asked[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const one = { form: new URLSearchParams(Buffer.concat(chunks).toString()), request };
      asked.push(one);
      reply(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, asked, server };
}

export function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** The CloudError that a call ended in, which shows nothing that it must not. */
export async function failure(work: Promise<unknown>): Promise<CloudError> {
  const error = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof CloudError, inspect(error));
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  assert(!CANARY.test(shown) && !CANARY.test(JSON.stringify(error)), shown);
  return error;
}
