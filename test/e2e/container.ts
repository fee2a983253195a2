import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Child, startChild, temporaryFolder } from "./child.ts";
import { eventually } from "./eventually.ts";

/*
 * Runs a program of an image as a kubelet's runtime would, without one: in a mount namespace of its
 * own, with the image's files as a root that nobody can write to, as the image's user.
 */

/** Of an image's configuration. */
interface Settings {
  readonly User: string;
  readonly WorkingDir: string;
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly Env: readonly string[];
}

/** An image for one platform, unpacked. */
export interface UnpackedImage {
  readonly root: string;
  readonly settings: Settings;
}

export interface Container extends Child {
  /** Waits for matching output or until the condition holds; fails when the program ends. */
  waitFor(what: RegExp | (() => unknown), withinMs: number): Promise<void>;
}

export interface ContainerOptions {
  /** In place of the image's entry point. */
  readonly command?: readonly string[];
  readonly args: readonly string[];
  /** Beside what the image says. */
  readonly env?: Readonly<Record<string, string>>;
  /** Who is asked for names, on port 53. */
  readonly nameServer?: string;
  /** Folders of this machine, by where they are inside; `rw` where the program may write. */
  readonly volumes?: Readonly<
    Record<string, { readonly folder: string; readonly mode: "ro" | "rw" }>
  >;
}

/** A name that only the container's own hosts file knows. */
export const HOST = "hook.example";
const RUN_WITHIN_MS = 60_000;
const PROGRAMS = ["unshare", "setpriv", "mount", "tar"];

/** Why no program can be run so, or false. */
export function skipWithoutContainers(): string | false {
  if (process.platform !== "linux") return said("this is no Linux");
  if (process.getuid?.() !== 0)
    return said("only root may mount and change the root; run it as root");
  const missing = PROGRAMS.filter((program) => !works(program, ["--version"]));
  if (missing.length > 0)
    return said(`there is no ${missing.join(", ")}; install util-linux and tar`);
  if (works("unshare", ["--mount", "--", "mount", "-t", "tmpfs", "none", "/tmp"])) return false;
  return said("mounting is not allowed here; a container needs --privileged");
}

function said(because: string): string {
  const reason = `Cannot run what is in the image: ${because}`;
  process.stderr.write(`\nSKIPPED: ${reason}\n\n`);
  return reason;
}

function works(program: string, args: readonly string[]): boolean {
  try {
    execFileSync(program, [...args], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/**
 * Unpacks what `docker load` would take, layer upon layer, with a program that is not ours.
 * Whiteouts are not known here, because no layer takes anything away.
 */
export function unpackImage(archive: string): UnpackedImage {
  const folder = temporaryFolder("image");
  execFileSync("tar", ["--extract", "--file", archive, "--directory", folder]);
  const json = (path: string) => JSON.parse(readFileSync(join(folder, path), "utf8"));
  const [{ Config, Layers }] = json("manifest.json");
  const root = join(folder, "root");
  mkdirSync(root);
  for (const layer of Layers) {
    const keep = ["--preserve-permissions", "--numeric-owner", "--same-owner"];
    execFileSync("tar", ["--extract", ...keep, "--file", join(folder, layer), "--directory", root]);
  }
  return { root, settings: json(Config).config };
}

// Mounts end with the namespace, and that with the program, which takes over the shell's process.
const SCRIPT = `
set -eu
inner="$PATH"; PATH=/usr/sbin:/usr/bin:/sbin:/bin
root="$1"; user="$2"; folder="$3"; shift 3
mount --bind "$root" "$root"
while [ "$1" != -- ]; do
  mount --bind "$1" "$root/$2"
  if [ "$3" = ro ]; then mount -o remount,bind,ro "$root/$2"; fi
  shift 3
done
shift
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777,nosuid,nodev none "$root/tmp"
mount -o remount,bind,ro,nosuid "$root"
exec env PATH="$inner" "$(command -v setpriv)" --no-new-privs "$(command -v unshare)" \\
  --root="$root" --wd="$folder" --setgid "\${user#*:}" --setuid "\${user%:*}" -- "$@"
`;

/** Starts the image's entry point, with nothing of this process' environment. */
export async function startContainer(
  { root, settings }: UnpackedImage,
  options: ContainerOptions,
): Promise<Container> {
  const volumes = Object.entries(options.volumes ?? {});
  for (const [path] of volumes) mkdirSync(join(root, path), { recursive: true });
  // What a runtime writes for each pod.
  writeFileSync(join(root, "etc/hosts"), `127.0.0.1 localhost ${HOST}\n`);
  writeFileSync(join(root, "etc/resolv.conf"), `nameserver ${options.nameServer ?? "127.0.0.1"}\n`);
  const env = Object.fromEntries(settings.Env.map((pair) => pair.split(/=(.*)/s).slice(0, 2)));
  const start = 'PATH=/usr/bin:/bin; p="$1"; shift; exec env PATH="$p" /usr/bin/unshare "$@"';
  const child = await startChild(
    "/bin/sh",
    [
      ...["-c", start, "sh", env.PATH ?? ""],
      ...["--mount", "--propagation", "private", "--", "/bin/sh", "-c", SCRIPT, "sh"],
      ...[root, settings.User, settings.WorkingDir],
      ...volumes.flatMap(([path, { folder, mode }]) => [folder, path, mode]),
      ...["--", ...(options.command ?? settings.Entrypoint), ...options.args],
    ],
    { env: { ...env, ...options.env }, folder: root },
  );
  const { exit, output } = child;
  return {
    ...child,
    async waitFor(what, withinMs) {
      const probe = async () =>
        what instanceof RegExp ? what.test(output()) : Boolean(await what());
      await eventually(`${options.args.join(" ")}: ${what}`, probe, {
        withinMs,
        hopeless: () => (exit() ? `it ended: ${JSON.stringify(exit())}\n${output()}` : null),
      });
    },
  };
}

/** Runs a program of the image to its end. */
export async function runContainer(image: UnpackedImage, options: ContainerOptions) {
  const container = await startContainer(image, options);
  const alarm = setTimeout(() => container.kill("SIGKILL"), RUN_WITHIN_MS);
  const exit = await container.exited;
  clearTimeout(alarm);
  return { ...exit, stdout: container.stdout(), stderr: container.stderr() };
}
