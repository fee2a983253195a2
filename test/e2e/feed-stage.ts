import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import { temporaryFolder } from "./child.ts";
import type { Receiver, Stage } from "./stage.ts";

const LIST = "open";
const READ_MS = 5_000;

/**
 * A receiver's configuration whose one list is a feed: for tests that need no cloud, only what was
 * admitted and what became of it.
 */
export interface FeedStage
  extends Pick<Stage, "name" | "folder" | "config" | "env" | "secretFile"> {
  /** What the list holds, ascending; null while it holds nothing yet. */
  entries(receiver: Pick<Receiver, "url">): Promise<readonly string[] | null>;
}

export interface FeedStageOptions {
  /** Also the value of the label `pool` that selects this stage's nodes. */
  readonly name: string;
  readonly cluster: string;
  readonly addresses?: "InternalIP" | "ExternalIP";
}

export function setFeedStage({ name, cluster, addresses }: FeedStageOptions): FeedStage {
  const folder = temporaryFolder(`stage-${name}`);
  const key = `whsec_${randomBytes(32).toString("base64")}`;
  const secretFile = join(folder, `${cluster}.key`);
  writeFileSync(secretFile, `${key}\n`, { mode: 0o600 });
  const config = join(folder, "allowlist.yaml");
  writeFileSync(
    config,
    stringify({
      version: 1,
      installation: "e2e",
      store: { kind: "file", path: "store" },
      clusters: {
        [cluster]: {
          auth: { signature: { keys: [`file:${secretFile}`] } },
          bounds: ["203.0.113.0/24"],
        },
      },
      lists: {
        [LIST]: {
          from: [{ cluster, nodes: { pool: name }, addresses: [addresses ?? "ExternalIP"] }],
          removal: { policy: "sync", grace: "2s", maxRatio: 1, minRemaining: 1 },
          targets: [{ kind: "feed", open: true }],
        },
      },
    }),
  );
  return {
    name,
    folder,
    config,
    env: {},
    secretFile: () => secretFile,
    async entries({ url }) {
      const signal = AbortSignal.timeout(READ_MS);
      const answer = await fetch(`${url}/v1/lists/${LIST}.txt`, { signal });
      if (answer.status === 503) return null;
      if (!answer.ok) throw new Error(`Cannot read the feed: ${answer.status}`);
      const lines = (await answer.text()).split("\n").map((line) => line.trim());
      return lines.filter((line) => line !== "" && !line.startsWith("#")).toSorted();
    },
  };
}
