/** Files of single views: PNG pictures, id and mask images, PFM depth. */
import sharp from 'sharp';

export const viewName = (i: number): string => String(i).padStart(3, '0');

/** [H, W] float image as PFM: little endian, bottom row first. */
export function encodePfm(image: Float32Array, width: number, height: number): Buffer {
  const header = Buffer.from(`Pf\n${width} ${height}\n-1.0\n`, 'latin1');
  const body = Buffer.alloc(4 * width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) body.writeFloatLE(image[(height - 1 - y) * width + x], 4 * (y * width + x));
  }
  return Buffer.concat([header, body]);
}

/** rgb [3, H, W] in [0, 1] to an 8-bit PNG, rounded to nearest. */
export async function encodePng(rgb: Float32Array, width: number, height: number): Promise<Buffer> {
  const plane = width * height;
  const bytes = Buffer.alloc(3 * plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 0; c < 3; c++) bytes[3 * i + c] = Math.floor(rgb[c * plane + i] * 255 + 0.5);
  }
  return sharp(bytes, { raw: { width, height, channels: 3 } }).png().toBuffer();
}

/** One byte per pixel to a grey 8-bit PNG. */
export async function encodeGrey(values: Uint8Array, width: number, height: number): Promise<Buffer> {
  const raw = { width, height, channels: 1 as const };
  return sharp(Buffer.from(values), { raw }).toColourspace('b-w').png().toBuffer();
}
