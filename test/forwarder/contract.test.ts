import { readFileSync } from "node:fs";
import { test } from "node:test";
import { startEmbeddedKubernetes } from "../../cli/embedded/kubernetes.ts";
import { makeWorld } from "../../lib/world.ts";
import { startKubeApiserver } from "../e2e/kube-apiserver.ts";
import { contract } from "./contract.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {}, audit() {} };

contract("the embedded API server", async () => {
  const server = await startEmbeddedKubernetes({ world: makeWorld(quiet) });
  return { kubeconfig: server.kubeconfig, stop: () => server.close() };
});

if (process.env.KUBEBUILDER_ASSETS) {
  contract("a real kube-apiserver", async () => {
    const server = await startKubeApiserver();
    return { kubeconfig: readFileSync(server.kubeconfig, "utf8"), stop: () => server.stop() };
  });
} else {
  test("a real kube-apiserver", { skip: "KUBEBUILDER_ASSETS is not set" }, () => undefined);
}
