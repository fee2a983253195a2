import assert from "node:assert/strict";
import { test } from "node:test";
import { createReader } from "../../lib/config/problems.ts";
import { parseConfig } from "../../lib/config.ts";
import { leftOut } from "../../lib/targets/left-out.ts";
import { kinds } from "../../lib/targets/registry.ts";
import { OWNER, targetContext } from "./making.ts";

const SENTENCE =
  'Cannot use a target of kind "linode/firewall": these functions were packaged without it; run ' +
  '"npm run package" with the new configuration';

test("leftOut() gives kinds that a configuration is refused for, with one sentence for the target", () => {
  const file = {
    version: 1,
    installation: "acme",
    store: { kind: "memory" },
    clusters: {},
    lists: {
      web: {
        from: [{ static: ["203.0.113.7/32"] }],
        removal: { policy: "sync" },
        targets: [
          { kind: "memory", id: "web" },
          { kind: "linode/firewall", anything: 7 },
        ],
      },
    },
  };
  const { memory } = kinds;
  assert(memory !== undefined);
  const reading = parseConfig(file, { memory, ...leftOut(["linode/firewall"]) });
  assert.deepEqual(reading, {
    kind: "invalid",
    problems: [{ path: "lists.web.targets[1]", message: SENTENCE }],
  });
});

test("leftOut() gives kinds that take no settings at all, and make nothing of them", async () => {
  const kind = leftOut(["linode/firewall"])["linode/firewall"];
  assert(kind !== undefined);
  for (const settings of [{}, null, { exclusive: true }]) {
    const reader = createReader();
    assert.equal(reader.check(kind.schema, settings, ["targets"]), null);
    assert.deepEqual(reader.problems, [{ path: "targets", message: SENTENCE }]);
  }
  const config = { kind: "linode/firewall", owner: OWNER, limit: null, exclusive: false };
  const target = {
    ...config,
    name: "linode/firewall/1",
    object: "linode-firewall.1",
    settings: {},
  };
  await assert.rejects(kind.create(target, targetContext({})), { message: SENTENCE });
  assert.throws(() => kind.identify({}, OWNER), { message: SENTENCE });
  assert.throws(() => kind.permissions({}, ""), { message: SENTENCE });
});
