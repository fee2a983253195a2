import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { packTar } from "modern-tar";
import { imageConfig, labelsOf, type Origin, REPOSITORY } from "./image-config.ts";
import { type Blob, digestOf, type Layer } from "./layer.ts";
import { PLATFORMS, type PlatformName } from "./platform.ts";

/*
 * OCI image layout 1.1: `oci-layout`, `index.json` and blobs by their digests.
 */

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYOUT = '{"imageLayoutVersion":"1.0.0"}';

/** An image for one platform: its manifest, and all that it names. */
export interface Image {
  readonly platform: PlatformName;
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Layer[];
}

/** Layers from the lowest to the highest. */
export function imageOf(
  origin: Origin,
  platform: PlatformName,
  layers: readonly (Layer & { readonly title: string })[],
): Image {
  const config = jsonBlob(CONFIG, imageConfig(origin, platform, layers));
  const manifest = jsonBlob(MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: descriptorOf(config),
    layers: layers.map((layer) => descriptorOf(layer)),
    annotations: labelsOf(origin),
  });
  return { platform, manifest, config, layers };
}

/** What a registry stores and a container's runtime fetches of it, in bytes. */
export function compressedBytes({ layers }: Image): number {
  return layers.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

/** One index of all platforms: its digest is the image's. */
export function indexOf(origin: Origin, images: readonly Image[]): Blob {
  return jsonBlob(INDEX, {
    schemaVersion: 2,
    mediaType: INDEX,
    manifests: images.map((image) => platformDescriptor(image)),
    annotations: labelsOf(origin),
  });
}

/** Writes the layout of all images anew. */
export function writeLayout(
  folder: string,
  origin: Origin,
  parts: { readonly index: Blob; readonly images: readonly Image[] },
): void {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, "blobs/sha256"), { recursive: true });
  const top = { ...descriptorOf(parts.index), annotations: nameOf(origin) };
  for (const [path, bytes] of layoutFiles(top, [parts.index, ...blobsOf(parts.images)])) {
    writeFileSync(join(folder, path), bytes);
  }
}

/**
 * One image as one file, for `docker load`, `podman load` and `ctr image import`: the layout, and
 * beside it the list that Docker has read since before there were layouts.
 */
export async function packImage(origin: Origin, image: Image): Promise<Uint8Array> {
  const top = { ...platformDescriptor(image), annotations: nameOf(origin) };
  const files = layoutFiles(top, blobsOf([image]));
  const docker = [
    {
      Config: blobPath(image.config),
      RepoTags: [`${REPOSITORY}:${origin.version}`],
      Layers: image.layers.map((layer) => blobPath(layer)),
    },
  ];
  files.set("manifest.json", Buffer.from(JSON.stringify(docker)));
  return packTar(
    [...files.keys()].toSorted().map((name) => {
      const body = files.get(name) ?? new Uint8Array();
      const common = { name, mode: 0o644, uid: 0, gid: 0, mtime: new Date(0) };
      return { header: { ...common, type: "file" as const, size: body.length }, body };
    }),
  );
}

function layoutFiles(top: object, blobs: readonly Blob[]): Map<string, Uint8Array> {
  const index = { schemaVersion: 2, mediaType: INDEX, manifests: [top] };
  return new Map([
    ["oci-layout", Buffer.from(LAYOUT)],
    ["index.json", Buffer.from(JSON.stringify(index))],
    ...blobs.map((blob): [string, Uint8Array] => [blobPath(blob), blob.bytes]),
  ]);
}

function blobsOf(images: readonly Image[]): readonly Blob[] {
  return images.flatMap(({ manifest, config, layers }) => [manifest, config, ...layers]);
}

function blobPath({ digest }: Blob): string {
  return `blobs/${digest.replace(":", "/")}`;
}

function jsonBlob(mediaType: string, value: object): Blob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { bytes, digest: digestOf(bytes), mediaType };
}

function descriptorOf({ mediaType, digest, bytes }: Blob) {
  return { mediaType, digest, size: bytes.length };
}

function platformDescriptor({ manifest, platform }: Image) {
  const { os, architecture } = PLATFORMS[platform];
  return { ...descriptorOf(manifest), platform: { architecture, os } };
}

/** Skopeo goes by the tag, containerd by the whole name. */
function nameOf({ version }: Origin): Readonly<Record<string, string>> {
  return {
    "io.containerd.image.name": `${REPOSITORY}:${version}`,
    "org.opencontainers.image.ref.name": version,
  };
}
