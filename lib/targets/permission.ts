import * as z from "zod/mini";

/*
 * What a firewall entry opens, as the configuration writes it: one protocol and a port or a range
 * of ports, or everything. Shared by every kind of target whose entries have ports.
 */

const PORT_MAX = 65_535;
const PORTS = /^(0|[1-9][0-9]{0,4})(?:-(0|[1-9][0-9]{0,4}))?$/;

export const permissionShape = z
  .strictObject({
    protocol: z.enum(["tcp", "udp", "all"], {
      error: ({ input }) => `Cannot use protocol ${JSON.stringify(input)}: write tcp, udp or all`,
    }),
    port: z.optional(
      z.union(
        [
          z
            .int({ error: portMessage })
            .check(
              z.minimum(0, { error: portMessage }),
              z.maximum(PORT_MAX, { error: portMessage }),
            ),
          z.string().check(z.refine(isPorts, { error: portMessage })),
        ],
        { error: portMessage },
      ),
    ),
  })
  .check(
    z.refine(({ protocol, port }) => (protocol === "all") === (port === undefined), {
      path: ["port"],
      error: ({ input }) => misfitMessage((input as { readonly protocol: string }).protocol),
    }),
  );

export type Permission = z.output<typeof permissionShape>;

/** First and last port of a permission; null where the protocol is `all`. */
export function portsOf({ protocol, port }: Permission): readonly [number, number] | null {
  if (protocol === "all") return null;
  const [, first, last = first] = PORTS.exec(String(port)) ?? [];
  return [Number(first), Number(last)];
}

/** The last part of a target's name: `tcp-5432`, `tcp-5432-5440`, `all`. */
export function permissionName(permission: Permission): string {
  const ports = portsOf(permission);
  return ports === null ? "all" : [permission.protocol, ...new Set(ports)].join("-");
}

function misfitMessage(protocol: string): string {
  return protocol === "all"
    ? "Cannot use port with protocol all: leave the port out"
    : `Cannot use protocol ${protocol} without a port: add one, like 5432 or "5432-5440"`;
}

function portMessage({ input }: { readonly input?: unknown }): string {
  const range = `a number from 0 to ${PORT_MAX}, or a range like "5432-5440"`;
  return `Cannot use port ${JSON.stringify(input)}: write ${range}`;
}

function isPorts(text: string): boolean {
  const [, first, last = first] = PORTS.exec(text) ?? [];
  return first !== undefined && Number(first) <= Number(last) && Number(last) <= PORT_MAX;
}
