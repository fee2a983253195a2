import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** A server of this process that listens. */
export interface Listening {
  readonly url: string;
  /** Cuts what is open and resolves when nothing of it is left. */
  close(): Promise<void>;
}

/** Rejects when it cannot listen there; port 0, the default, is any that is free. */
export async function listen(
  server: Server,
  options: { readonly host?: string | undefined; readonly port?: number | undefined },
): Promise<Listening> {
  const { host = "127.0.0.1", port = 0 } = options;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  const { port: bound } = server.address() as AddressInfo;
  const shown = host.includes(":") ? `[${host}]` : host;
  return {
    url: `http://${shown}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
