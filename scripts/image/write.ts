import { renameSync, writeFileSync } from "node:fs";

/** Writes a file that is there whole or not at all, also where two processes write it. */
export function writeWhole(path: string, bytes: Uint8Array | string): void {
  const beside = `${path}.${process.pid}`;
  writeFileSync(beside, bytes);
  renameSync(beside, path);
}
