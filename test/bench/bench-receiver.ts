import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import { clockMs } from "./subject.ts";

/** One delivery as it came in. */
export interface Received {
  /** When its first bytes were there, by {@link clockMs}. */
  readonly at: number;
  readonly bytes: number;
  readonly nodes: ReadonlySet<string>;
  readonly pods: number;
}

/** Admits whatever comes, at once, and calls no node ready. */
export async function startBenchReceiver() {
  const received: Received[] = [];
  const server = createServer((request, response) => {
    const at = clockMs();
    void request.toArray().then((chunks) => {
      const body = Buffer.concat(chunks);
      const isSmall = request.headers["content-encoding"] !== "gzip";
      const text = (isSmall ? body : gunzipSync(body)).toString("utf8");
      const { generation, nodes, pods } = JSON.parse(text).data;
      const names = nodes.map(({ name }: { readonly name: string }) => name);
      received.push({ at, bytes: body.length, nodes: new Set(names), pods: pods?.length ?? 0 });
      response.writeHead(200, { "content-type": "application/json" });
      const answer = { generation, readyNodes: [], unlisted: [], again: null, lists: [] };
      response.end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/snapshots`,
    received: received as readonly Received[],
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export type BenchReceiver = Awaited<ReturnType<typeof startBenchReceiver>>;
