import * as z from "zod/mini";

/** What an image is made for, as OCI writes it. */
export const PLATFORM_NAMES = ["linux/amd64", "linux/arm64"] as const;
export type PlatformName = (typeof PLATFORM_NAMES)[number];
export const platformShape = z.enum(PLATFORM_NAMES);

/** How everybody else calls the same. */
export interface Platform {
  readonly os: "linux";
  readonly architecture: "amd64" | "arm64";
  /** The end of the name of the npm package that holds Node's program. */
  readonly npm: "x64" | "arm64";
  /** `e_machine` of the ELF header: System V ABI, "Machine Information". */
  readonly elfMachine: number;
}

export const PLATFORMS: Readonly<Record<PlatformName, Platform>> = {
  "linux/amd64": { os: "linux", architecture: "amd64", npm: "x64", elfMachine: 0x3e },
  "linux/arm64": { os: "linux", architecture: "arm64", npm: "arm64", elfMachine: 0xb7 },
};
