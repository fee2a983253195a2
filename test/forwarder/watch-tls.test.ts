import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { createServer } from "node:tls";
import { makeCertificates, skipWithoutOpenssl } from "../e2e/certificates.ts";
import { external, type Server, watchStage } from "./stage.ts";

interface Certificate {
  readonly key: string;
  readonly cert: string;
  /** Who trusts this trusts the certificate. */
  readonly authority: string;
}

function makeCertificate(): Certificate {
  const { key, certificate, authority } = makeCertificates(["IP:127.0.0.1"]);
  const read = (path: string) => readFileSync(path, "utf8");
  return { key: read(key), cert: read(certificate), authority: read(authority) };
}

/** A door with TLS in front of the cluster, which shows one certificate and later another. */
async function startDoor(t: TestContext, server: Server, shown: Certificate) {
  const { port } = new URL(server.url);
  const door = createServer({ ...shown }, (outside) => {
    const inside = connect(Number(port), "127.0.0.1");
    for (const [from, to] of [
      [outside, inside],
      [inside, outside],
    ] as const) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
    t.after(() => outside.destroy());
  });
  await new Promise<void>((resolve) => door.listen(0, "127.0.0.1", resolve));
  t.after(() => door.close());
  return door;
}

/** TLS takes more turns of the loop than the clock of a test waits for by itself. */
async function within(
  { world }: Awaited<ReturnType<typeof watchStage>>,
  condition: () => boolean,
): Promise<void> {
  for (let second = 0; second < 90 && !condition(); second += 1) {
    await world.advance(1_000);
    await pause(5);
  }
  assert.ok(condition(), "within 90 s");
}

for (const watchList of [true, false]) {
  const how = watchList ? "watch" : "list";
  test(`watchCluster() survives TLS errors on ${how}`, {
    skip: skipWithoutOpenssl(),
  }, async (t) => {
    const trusted = makeCertificate();
    const other = makeCertificate();
    let show = (_certificate: Certificate) => {};
    const stage = await watchStage(t, {
      watchList,
      prepare: ({ nodes }) => void nodes.put("a", external("203.0.113.1")),
      async kubeconfig(server) {
        const door = await startDoor(t, server, other);
        show = (certificate) => door.setSecureContext(certificate);
        const config = JSON.parse(server.kubeconfig);
        config.clusters[0].cluster = {
          server: `https://127.0.0.1:${(door.address() as AddressInfo).port}`,
          "certificate-authority-data": Buffer.from(trusted.authority).toString("base64"),
        };
        return JSON.stringify(config);
      },
    });
    const failures = () => stage.events.filter(({ kind }) => kind === "watch-failed");
    await stage.world.until("failures", () => failures().length >= 4, { withinMs: 120_000 });
    assert.match(JSON.stringify(failures()[0]), /certificate/);
    assert.equal(stage.watch.truth(), null);
    show(trusted);
    await within(stage, () => stage.addresses().length === 1);
    // Keys are exchanged on a running cluster, too.
    show(other);
    stage.server.faults.cut();
    const before = failures().length;
    await within(stage, () => failures().length >= before + 3);
    stage.server.nodes.put("b", external("203.0.113.2"));
    show(trusted);
    await within(stage, () => stage.addresses().length === 2);
  });
}
