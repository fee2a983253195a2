import { OWN_ID } from "./layer.ts";
import { PLATFORMS, type PlatformName } from "./platform.ts";
import { PATHS } from "./rootfs.ts";

/** Where the image is published. */
export const REPOSITORY = "ghcr.io/kube-allowlist/kube-allowlist";
export const SOURCE = "https://github.com/kube-allowlist/kube-allowlist";
const DESCRIPTION =
  "Keeps firewalls, security groups and database allow lists in step with the nodes of clusters";

/** From which sources an image is made. */
export interface Origin {
  readonly version: string;
  /** The commit, with `-dirty` where files differ from it; null where nobody knows. */
  readonly revision: string | null;
  /** The commit's time, so that it does not depend on when the image was made. */
  readonly created: Date;
}

/** What a container of the image is started with. The chart gives arguments only. */
export const CONTAINER = {
  User: `${OWN_ID}:${OWN_ID}`,
  WorkingDir: `/${PATHS.app}`,
  Entrypoint: [`/${PATHS.program}`],
  Cmd: ["--help"],
  Env: [
    // Whatever number the user has, and whether it has a name.
    "HOME=/",
    "PATH=/usr/local/bin",
    // A small young generation: what the chart gives the forwarder, too.
    "NODE_OPTIONS=--max-semi-space-size=1",
    // Node has authorities of its own; these are for --use-system-ca and --use-openssl-ca.
    `SSL_CERT_FILE=/${PATHS.authorities}`,
  ],
} as const;

/** Labels of the image, and annotations of its manifests, by the keys that OCI defines. */
export function labelsOf({ version, revision, created }: Origin): Readonly<Record<string, string>> {
  const key = (name: string) => `org.opencontainers.image.${name}`;
  return {
    [key("created")]: timeText(created),
    [key("description")]: DESCRIPTION,
    [key("licenses")]: "Apache-2.0",
    ...(revision === null ? {} : { [key("revision")]: revision }),
    [key("source")]: SOURCE,
    [key("title")]: "kube-allowlist",
    [key("url")]: "https://kube-allowlist.dev",
    [key("version")]: version,
  };
}

/** The image's configuration (OCI image specification 1.1, "OCI Image Configuration"). */
export function imageConfig(
  origin: Origin,
  platform: PlatformName,
  layers: readonly { readonly diffId: string; readonly title: string }[],
): object {
  const { os, architecture } = PLATFORMS[platform];
  const created = timeText(origin.created);
  return {
    created,
    architecture,
    os,
    config: { ...CONTAINER, Labels: labelsOf(origin) },
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
    history: layers.map(({ title }) => ({ created, created_by: "npm run image", comment: title })),
  };
}

/** RFC 3339, whole seconds. */
export function timeText(time: Date): string {
  return time.toISOString().replace(/\.\d+Z$/, "Z");
}
