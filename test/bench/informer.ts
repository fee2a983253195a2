import { CoreV1Api, KubeConfig, makeInformer, type V1Node } from "@kubernetes/client-node";

/*
 * What a forwarder is compared with: the client library's own informer, used as its manual shows,
 * keeping the addresses of all nodes. It delivers nothing.
 */

const config = new KubeConfig();
config.loadFromFile(process.argv[2] ?? "");
const api = config.makeApiClient(CoreV1Api);
const informer = makeInformer<V1Node>(config, "/api/v1/nodes", () => api.listNode());
const addresses = new Map<string, readonly string[]>();

const keep = ({ metadata, status }: V1Node) => {
  addresses.set(metadata?.uid ?? "", status?.addresses?.map(({ address }) => address) ?? []);
};
informer.on("add", keep);
informer.on("update", keep);
informer.on("delete", ({ metadata }) => addresses.delete(metadata?.uid ?? ""));
informer.on("error", (error) => {
  process.stderr.write(`${error instanceof Error ? error.stack : error}\n`);
  process.exit(1);
});
void informer.start().then(() => {
  const timestamp = new Date().toISOString();
  const listed = { event: "listed", count: addresses.size, timestamp };
  process.stderr.write(`${JSON.stringify(listed)}\n`);
});
