import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { createServer, type Server, type Socket as Stream } from "node:net";

/** What a name server says: records of the question's name, or an error, or nothing at all. */
export type DnsReply =
  | { readonly kind: "records"; readonly records: readonly DnsRecord[] }
  | { readonly kind: "error"; readonly code: number }
  | { readonly kind: "silence" };

export type DnsRecord =
  | { readonly type: "A" | "AAAA"; readonly owner?: string; readonly address: readonly number[] }
  | { readonly type: "CNAME"; readonly owner?: string; readonly target: string };

export interface DnsQuestion {
  readonly name: string;
  readonly type: "A" | "AAAA" | "other";
}

// RFC 1035, section 4.1.1.
export const SERVFAIL = 2;
export const NXDOMAIN = 3;
export const REFUSED = 5;

const TYPES = { A: 1, CNAME: 5, AAAA: 28 } as const;
const IN = 1;
const TTL_S = 60;
const UDP_BYTES_MAX = 1_232;
const TRUNCATED = 0x02_00;
const ANSWER_FLAGS = 0x81_80;

/** A name server on loopback, over UDP and TCP on one port, for the resolver of Node itself. */
export async function dnsServer(reply: (question: DnsQuestion) => DnsReply) {
  const questions: DnsQuestion[] = [];
  const answerTo = (query: Buffer, bytesMax: number): Buffer | null => {
    const question = questionOf(query);
    questions.push(question);
    return render(query, question, { reply: reply(question), bytesMax });
  };
  const { udp, tcp } = await listenOnBoth();
  udp.on("message", (query, from) => {
    const answer = answerTo(query, UDP_BYTES_MAX);
    if (answer !== null) udp.send(answer, from.port, from.address);
  });
  const streams = new Set<Stream>();
  tcp.on("connection", (stream) => {
    streams.add(stream);
    stream.on("close", () => streams.delete(stream));
    stream.on("error", () => stream.destroy());
    let held: Buffer = Buffer.alloc(0);
    stream.on("data", (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 2 && held.length >= held.readUInt16BE(0) + 2) {
        const end = held.readUInt16BE(0) + 2;
        const answer = answerTo(held.subarray(2, end), 0xff_ff);
        held = held.subarray(end);
        if (answer !== null) stream.write(Buffer.concat([uint16(answer.length), answer]));
      }
    });
  });
  return {
    server: `127.0.0.1:${udp.address().port}`,
    questions,
    async close() {
      for (const stream of streams) stream.destroy();
      udp.close();
      tcp.close();
      await Promise.all([once(udp, "close"), once(tcp, "close")]);
    },
  };
}

/** The port that UDP was given may be taken for TCP: then it tries with another. */
async function listenOnBoth(): Promise<{ readonly udp: Socket; readonly tcp: Server }> {
  for (;;) {
    const udp = createSocket("udp4");
    udp.bind(0, "127.0.0.1");
    await once(udp, "listening");
    const tcp = createServer();
    tcp.listen(udp.address().port, "127.0.0.1");
    const outcome = await Promise.race([
      once(tcp, "listening").then(() => "listening"),
      once(tcp, "error").then(() => "taken"),
    ]).catch(() => "taken");
    if (outcome === "listening") return { udp, tcp };
    udp.close();
  }
}

function questionOf(query: Buffer): DnsQuestion {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const number = query.readUInt16BE(at + 1);
  const type = number === TYPES.A ? "A" : number === TYPES.AAAA ? "AAAA" : "other";
  return { name: labels.join("."), type };
}

function render(
  query: Buffer,
  question: DnsQuestion,
  options: { readonly reply: DnsReply; readonly bytesMax: number },
): Buffer | null {
  const { reply, bytesMax } = options;
  if (reply.kind === "silence") return null;
  const asked = query.subarray(12, 12 + nameBytes(question.name).length + 4);
  const records = reply.kind === "records" ? reply.records : [];
  const code = reply.kind === "error" ? reply.code : 0;
  const message = (flags: number, given: readonly DnsRecord[]) =>
    Buffer.concat([
      query.subarray(0, 2),
      uint16(flags | code),
      uint16(1),
      uint16(given.length),
      uint16(0),
      uint16(0),
      asked,
      ...given.map((record) => recordBytes(record, question.name)),
    ]);
  const whole = message(ANSWER_FLAGS, records);
  return whole.length <= bytesMax ? whole : message(ANSWER_FLAGS | TRUNCATED, []);
}

function recordBytes(record: DnsRecord, name: string): Buffer {
  const bytes =
    record.type === "CNAME" ? nameBytes(record.target) : Buffer.from([...record.address]);
  return Buffer.concat([
    nameBytes(record.owner ?? name),
    uint16(TYPES[record.type]),
    uint16(IN),
    uint16(0),
    uint16(TTL_S),
    uint16(bytes.length),
    bytes,
  ]);
}

function nameBytes(name: string): Buffer {
  const labels = name.split(".").filter((label) => label !== "");
  const parts = labels.flatMap((label) => [
    Buffer.from([label.length]),
    Buffer.from(label, "latin1"),
  ]);
  return Buffer.concat([...parts, Buffer.from([0])]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
