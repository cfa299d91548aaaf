/** Small pictures that a page makes itself: numbers as colours, in PNG. */
import { crc32, deflateSync } from 'node:zlib';
import { ShapeError } from '../binding/errors';

/** One number per pixel, row-major [height, width]; what is not finite is drawn as a hole. */
export interface HeatMap {
  width: number;
  height: number;
  data: Float32Array;
}

export type Ramp = readonly (readonly [number, number, number])[];

/** Dark to light through blue, green and yellow: light grows evenly, so it reads in grey as well. */
export const cool: Ramp = [[18, 12, 54], [42, 76, 138], [27, 139, 135], [122, 198, 86], [250, 236, 110]];
/** Black through red and orange to white: for differences, of which most are none. */
export const hot: Ramp = [[0, 0, 0], [96, 14, 60], [200, 60, 30], [250, 160, 40], [255, 255, 230]];

const hole = [128, 128, 128];

/** The values between which `share` of all finite values lie, the same share left out at either end; [0, 1] without any. */
export function rangeOf(maps: readonly HeatMap[], share = 0.96): [number, number] {
  const lengths = maps.reduce((sum, { data }) => sum + data.length, 0);
  const values = new Float32Array(lengths);
  let count = 0;
  for (const { data } of maps) for (const value of data) if (Number.isFinite(value)) values[count++] = value;
  if (count === 0) return [0, 1];
  const sorted = values.subarray(0, count).sort();
  const cut = Math.floor((count * (1 - share)) / 2);
  return [sorted[cut], sorted[count - 1 - cut]];
}

/** The map as an RGB PNG: `low` gets the ramp's first colour, `high` its last. @throws ShapeError */
export function heatPng({ width, height, data }: HeatMap, [low, high]: readonly [number, number], ramp: Ramp = cool): Buffer {
  if (data.length !== width * height || width < 1 || height < 1)
    throw new ShapeError(`heat map: expected ${width} × ${height} values, got ${data.length}`);
  const pixels = new Uint8Array(3 * data.length);
  const scale = high > low ? (ramp.length - 1) / (high - low) : 0;
  data.forEach((value, i) => {
    if (!Number.isFinite(value)) return pixels.set(hole, 3 * i);
    const at = Math.min(Math.max((value - low) * scale, 0), ramp.length - 1);
    const step = Math.min(Math.floor(at), ramp.length - 2);
    for (let c = 0; c < 3; c++) pixels[3 * i + c] = Math.round(ramp[step][c] + (ramp[step + 1][c] - ramp[step][c]) * (at - step));
  });
  return encodeRgbPng(pixels, width, height);
}

/** 8-bit RGB rows as a PNG (ISO/IEC 15948), without line filters. */
export function encodeRgbPng(pixels: Uint8Array, width: number, height: number): Buffer {
  const rows = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0; y < height; y++) rows.set(pixels.subarray(3 * y * width, 3 * (y + 1) * width), y * (1 + 3 * width) + 1);
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))]);
}

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  framed.set(body, 4);
  framed.writeUInt32BE(crc32(body), 4 + body.length);
  return framed;
}
