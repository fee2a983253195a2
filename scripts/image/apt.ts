import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Packages of the archive that this machine's apt is configured with. */
export interface AptArchive {
  /** The file of a package; without a version the one that apt would install. Throws. */
  download(name: string, version?: string): Uint8Array;
  /** Forgets what was read of the archive. */
  close(): void;
}

/** The archive can be asked, and does not have what is pinned. */
export class NotInArchive extends Error {
  override readonly name = "NotInArchive";
}

// What apt-get says of a version, and of a package, that it does not know.
const NOT_FOUND = /was not found|Unable to locate package/;
const TEXT_BYTES_MAX = 16 * 1024 * 1024;
const WITHIN_MS = 300_000;

/**
 * Reads the archive's lists into a folder of its own, so that nothing of this machine changes, no
 * rights are needed and other architectures than its own can be had. Which archive that is, and
 * whose signatures it must bear, stands in the machine's configuration.
 */
export function openAptArchive(architecture: string): AptArchive {
  const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-apt-"));
  for (const name of ["state/lists/partial", "cache/archives/partial"]) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  const close = () => rmSync(folder, { recursive: true, force: true });
  const options = [
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    `Dir::State=${join(folder, "state")}`,
    "Dir::State::status=/dev/null",
    `Dir::Cache=${join(folder, "cache")}`,
    "Acquire::Languages=none",
    // Its sandbox's user may not write into our folder.
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
  try {
    aptGet([...options, "update"], folder);
  } catch (error) {
    close();
    throw error;
  }
  return {
    close,
    download(name, version) {
      const place = mkdtempSync(join(folder, "download-"));
      try {
        aptGet([...options, "download", version ? `${name}=${version}` : name], place);
      } catch (error) {
        const what = `${name} ${version ?? ""} for ${architecture}`;
        if (!(error instanceof Error) || !NOT_FOUND.test(error.message)) {
          throw new Error(`Cannot fetch ${what}`, { cause: error });
        }
        throw new NotInArchive(
          `Cannot fetch ${what} from the archive that apt is configured with: where that is ` +
            'Debian 12\'s, the version has left it: run "npm run image -- --update-lock", look ' +
            "at the change and commit it; elsewhere work in a container of Debian 12",
          { cause: error },
        );
      }
      const [file = ""] = readdirSync(place);
      return readFileSync(join(place, file));
    },
  };
}

function aptGet(args: readonly string[], cwd: string): void {
  const run = spawnSync("apt-get", ["-qq", ...args], {
    cwd,
    // Its sentences are read.
    env: { ...process.env, LC_ALL: "C" },
    encoding: "utf8",
    maxBuffer: TEXT_BYTES_MAX,
    timeout: WITHIN_MS,
  });
  if (run.error) {
    throw new Error("Cannot run apt-get: Debian's packages are fetched by it; install apt", {
      cause: run.error,
    });
  }
  if (run.status !== 0) throw new Error(`apt-get said: ${run.stderr.trim()}`);
}
