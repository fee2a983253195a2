import { crc32, deflateRawSync } from "node:zlib";

/*
 * A writer of ZIP archives whose bytes depend on names and contents alone: no time, no order of a
 * file system, no owner. (APPNOTE.TXT of PKWARE, version 6.3: sections 4.3 and 4.4.)
 */

const LOCAL_HEADER = 0x04034b50;
const CENTRAL_HEADER = 0x02014b50;
const END_RECORD = 0x06054b50;
const VERSION = 20;
/** Unix, so that the permissions below are believed. */
const MADE_BY = (3 << 8) | VERSION;
const NAMES_IN_UTF8 = 1 << 11;
const DEFLATED = 8;
/** 1980-01-01 00:00, the first moment that the format can write. */
const DATE = (1 << 5) | 1;
/** A plain file that everybody may read: functions run as a user of their own. */
const MODE = 0o100644;
const ENTRIES_MAX = 0xffff;
const BYTES_MAX = 0xffffffff;

/** The archive of these files by their names. The same files in any order give the same bytes. */
export function zip(files: Readonly<Record<string, Uint8Array>>): Buffer {
  const names = Object.keys(files).toSorted();
  if (names.length > ENTRIES_MAX) {
    throw new Error(`Cannot zip ${names.length} files: at most ${ENTRIES_MAX}`);
  }
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const name of names) {
    const entry = entryOf(name, files[name] ?? new Uint8Array());
    locals.push(entry.local);
    centrals.push(entry.centralAt(offset));
    offset += entry.local.length;
  }
  const central = Buffer.concat(centrals);
  if (offset + central.length > BYTES_MAX) {
    throw new Error(`Cannot zip ${offset + central.length} bytes: at most ${BYTES_MAX}`);
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(END_RECORD, 0);
  end.writeUInt16LE(names.length, 8);
  end.writeUInt16LE(names.length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, central, end]);
}

function entryOf(name: string, content: Uint8Array) {
  const nameBytes = Buffer.from(name);
  const packed = deflateRawSync(content, { level: 9 });
  // What both headers have in common, from "version needed" to the length of the name.
  const common = Buffer.alloc(24);
  common.writeUInt16LE(VERSION, 0);
  common.writeUInt16LE(NAMES_IN_UTF8, 2);
  common.writeUInt16LE(DEFLATED, 4);
  common.writeUInt16LE(0, 6);
  common.writeUInt16LE(DATE, 8);
  common.writeUInt32LE(crc32(content), 10);
  common.writeUInt32LE(packed.length, 14);
  common.writeUInt32LE(content.length, 18);
  common.writeUInt16LE(nameBytes.length, 22);
  return {
    local: Buffer.concat([uint32(LOCAL_HEADER), common, uint16(0), nameBytes, packed]),
    centralAt: (offset: number) => {
      const rest = Buffer.alloc(16);
      rest.writeUInt32LE((MODE << 16) >>> 0, 8);
      rest.writeUInt32LE(offset, 12);
      return Buffer.concat([uint32(CENTRAL_HEADER), uint16(MADE_BY), common, rest, nameBytes]);
    },
  };
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
