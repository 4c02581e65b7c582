/* ZIP files without compression, which PNG files do not need. Source: PKWARE APPNOTE 6.3.10. */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k += 1) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

const crc32 = (data) => {
  let crc = 0xffffffff;
  for (const byte of data) crc = TABLE[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
};

/* Fields of a header, each [value, bytes], little-endian. */
const header = (fields) => {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, n]) => sum + n, 0)));
  let offset = 0;
  for (const [value, n] of fields) {
    if (n === 2) view.setUint16(offset, value, true);
    else view.setUint32(offset, value, true);
    offset += n;
  }
  return view.buffer;
};

/* 1 January 1980, the first date that the format can hold: the ZIP says nothing about when. */
const DATE = 0x21;

/* Blob of a ZIP with these entries, each {name: ASCII, data: Uint8Array}. */
export const zip = (entries) => {
  const parts = [], directory = [];
  let offset = 0, directorySize = 0;
  for (const { name, data } of entries) {
    const encoded = new TextEncoder().encode(name);
    const common = [[20, 2], [0, 2], [0, 2], [0, 2], [DATE, 2], [crc32(data), 4], [data.length, 4], [data.length, 4], [encoded.length, 2], [0, 2]];
    const local = header([[0x04034b50, 4], ...common]);
    parts.push(local, encoded, data);
    const central = header([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]);
    directory.push(central, encoded);
    offset += local.byteLength + encoded.length + data.length;
    directorySize += central.byteLength + encoded.length;
  }
  const end = header([[0x06054b50, 4], [0, 2], [0, 2], [entries.length, 2], [entries.length, 2], [directorySize, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
};
