import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Ec2Error } from "./ec2-error.ts";
import { type Ec2Backend, groupActions } from "./ec2-group-actions.ts";
import { type Ec2PrefixListBackend, prefixListActions } from "./ec2-prefix-list-actions.ts";
import { type Ec2Subnet, subnetActions } from "./ec2-subnets.ts";
import { type Ec2Actions, envelope, errorXml } from "./ec2-wire.ts";
import { listen } from "./listening.ts";

export interface EmbeddedEc2<G extends Ec2Backend> {
  /** An endpoint for any client of the EC2 API; believes any credentials. */
  readonly url: string;
  /** As handed in: what the endpoint writes to. */
  readonly groups: G;
  /** Cuts what is open and resolves when nothing of it is left. */
  close(): Promise<void>;
}

const BODY_BYTES_MAX = 1_048_576;

/**
 * As much of the EC2 Query API as the product calls, over HTTP on this machine: form in, XML out,
 * as in the EC2 API reference. For demonstrations and tests; it knows no accounts and no regions.
 */
export async function startEmbeddedEc2<G extends Ec2Backend>(options: {
  readonly groups: G;
  readonly prefixLists?: Ec2PrefixListBackend;
  readonly subnets?: readonly Ec2Subnet[];
  readonly host?: string;
  readonly port?: number;
}): Promise<EmbeddedEc2<G>> {
  const { prefixLists, subnets = [] } = options;
  const actions = {
    ...groupActions(options.groups),
    ...(prefixLists === undefined ? {} : prefixListActions(prefixLists)),
    ...subnetActions(subnets),
  };
  let requests = 0;
  const server = createServer((request, response) => {
    requests += 1;
    const requestId = `embedded-${requests}`;
    answer(request, response, { actions, requestId }).catch(() => request.socket.destroy());
  });
  return { ...(await listen(server, options)), groups: options.groups };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: { readonly actions: Ec2Actions; readonly requestId: string },
): Promise<void> {
  const { actions, requestId } = options;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  try {
    const form = new URLSearchParams(await readBody(request));
    const name = form.get("Action") ?? "";
    const action = Object.hasOwn(actions, name) ? actions[name] : undefined;
    if (action === undefined) throw unknownAction(name);
    const xml = envelope(name, requestId, await action(form, gone.signal));
    response.writeHead(200, { "content-type": "text/xml;charset=UTF-8" }).end(xml);
  } catch (error) {
    const refusal = error instanceof Ec2Error ? error : internal();
    if (refusal.status === null) {
      request.socket.destroy();
      return;
    }
    const { retryAfterS } = refusal;
    response
      .writeHead(refusal.status, {
        "content-type": "text/xml;charset=UTF-8",
        ...(retryAfterS === null ? {} : { "retry-after": String(retryAfterS) }),
      })
      .end(errorXml(refusal, requestId));
  }
}

function unknownAction(name: string): Ec2Error {
  const message = `The action ${name} is not valid for this web service.`;
  return new Ec2Error("InvalidAction", message);
}

function internal(): Ec2Error {
  return new Ec2Error("InternalError", "An internal error has occurred", { status: 500 });
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) {
      throw new Ec2Error("RequestEntityTooLarge", "Request entity is too large", { status: 413 });
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
