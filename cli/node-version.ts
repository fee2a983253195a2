import manifest from "../package.json" with { type: "json" };

/*
 * Ends the process where Node is too old. What an entry imports after this file may not even load
 * there, so it must be the entry's first import.
 */

const running = process.versions.node;
const needed = /^>=([0-9]+)\.([0-9]+)$/.exec(manifest.engines.node) ?? [];

if (isOlder(running, needed.slice(1))) {
  process.stderr.write(
    `Cannot run kube-allowlist: Node ${running} is older than ${needed.slice(1).join(".")}; ` +
      "start it with a newer Node\n",
  );
  process.exit(2);
}

function isOlder(version: string, least: readonly string[]): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [leastMajor = 0, leastMinor = 0] = least.map(Number);
  return major < leastMajor || (major === leastMajor && minor < leastMinor);
}
