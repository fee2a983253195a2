import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

/** An HTTP proxy that opens tunnels, to where it is told that names lead. */
export interface ConnectProxy {
  /** Without user and password. */
  readonly url: string;
  /** Every tunnel that was asked for, as host:port, in order; refused ones, too. */
  asked(): readonly string[];
  /** Tunnels that are open. */
  open(): number;
  stop(): Promise<void>;
}

export async function startConnectProxy(options: {
  /** `hook.example:443` to a port of this machine; what is not in it is answered with 502. */
  readonly routes: Readonly<Record<string, number>>;
  /** As USER:PASSWORD; without, everybody may. */
  readonly credential?: string;
}): Promise<ConnectProxy> {
  const asked: string[] = [];
  const sockets = new Set<Socket>();
  let open = 0;
  const server = createServer((_request, response) => response.writeHead(405).end());
  const expected =
    options.credential === undefined
      ? undefined
      : `Basic ${Buffer.from(options.credential).toString("base64")}`;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("connect", (request, near: Socket) => {
    const place = request.url ?? "";
    asked.push(place);
    near.on("error", () => undefined);
    const refuse = (status: string) => near.end(`HTTP/1.1 ${status}\r\n\r\n`);
    if (expected !== undefined && request.headers["proxy-authorization"] !== expected) {
      refuse("407 Proxy Authentication Required");
      return;
    }
    const port = options.routes[place];
    if (port === undefined) {
      refuse("502 Bad Gateway");
      return;
    }
    const far = connect(port, "127.0.0.1", () => {
      near.write("HTTP/1.1 200 Connection established\r\n\r\n");
      near.pipe(far).pipe(near);
    });
    open += 1;
    far.on("error", () => near.destroy());
    far.once("close", () => {
      open -= 1;
      near.destroy();
    });
    near.once("close", () => far.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    asked: () => asked,
    open: () => open,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}
