import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';
import { AbortError, OutputError, SceneError, ShapeError } from '../../src/binding/errors';
import {
  createImage, cropImage, decodeImage, encodePng, fromBytes, readImage, readImageSize, toBytes, writePng,
} from '../../src/scene/image';
import { ResizeFilter, resizeImage } from '../../src/scene/resize';
import { patternBytes, temporaryFolder } from '../scene-fixtures';

const root = temporaryFolder();
const file = (name: string): string => join(root, name);

/** A PNG whose header claims a size that its (tiny) content does not have. */
function pngClaiming(width: number, height: number): Buffer {
  const chunk = (type: string, body: Buffer): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(body.length, 0);
    head.write(type, 4, 'latin1');
    const tail = Buffer.alloc(4);
    tail.writeUInt32BE((crc32 as (data: Buffer) => number)(Buffer.concat([head.subarray(4), body])) >>> 0, 0);
    return Buffer.concat([head, body, tail]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8);
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  return Buffer.concat(
    [signature, chunk('IHDR', header), chunk('IDAT', deflateSync(Buffer.alloc(64))), chunk('IEND', Buffer.alloc(0))],
  );
}

describe('reading', () => {
  const width = 20;
  const height = 12;
  const bytes = patternBytes(width, height);
  const raw = { raw: { width, height, channels: 3 as const } };

  test('PNG, WebP and TIFF without loss give the exact bytes; planes are RGB', async () => {
    await sharp(bytes, raw).png().toFile(file('a.png'));
    await sharp(bytes, raw).webp({ lossless: true }).toFile(file('a.webp'));
    await sharp(bytes, raw).tiff({ compression: 'lzw' }).toFile(file('a.tiff'));
    for (const name of ['a.png', 'a.webp', 'a.tiff']) {
      const image = await readImage(file(name));
      expect([image.width, image.height]).toEqual([width, height]);
      expect(toBytes(image).equals(bytes)).toBe(true);
      expect(image.data[2 * width * height + 5]).toBe(Math.fround(bytes[3 * 5 + 2] / 255));
    }
    expect(await readImageSize(file('a.png'))).toEqual({ width, height });
  });

  test('JPEG is close, grey becomes RGB, 16 bit becomes 8', async () => {
    await sharp(bytes, raw).jpeg({ quality: 100, chromaSubsampling: '4:4:4' }).toFile(file('a.jpg'));
    const jpeg = toBytes(await readImage(file('a.jpg')));
    expect(Math.max(...jpeg.map((b, i) => Math.abs(b - bytes[i])))).toBeLessThanOrEqual(3);
    await sharp(Buffer.from([10, 200]), { raw: { width: 2, height: 1, channels: 1 } }).png().toFile(file('grey.png'));
    expect([...toBytes(await readImage(file('grey.png')))]).toEqual([10, 10, 10, 200, 200, 200]);
    await sharp(bytes, raw).toColourspace('rgb16').png().toFile(file('deep.png'));
    expect(toBytes(await readImage(file('deep.png'))).equals(bytes)).toBe(true);
  });

  test('transparency is composited on white', async () => {
    const rgba = Buffer.from([255, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 128]);
    await sharp(rgba, { raw: { width: 3, height: 1, channels: 4 } }).png().toFile(file('alpha.png'));
    const got = [...toBytes(await readImage(file('alpha.png')))];
    expect(got.slice(0, 6)).toEqual([255, 0, 0, 255, 255, 255]);
    for (const v of got.slice(6)) expect(Math.abs(v - 127)).toBeLessThanOrEqual(1);
  });

  test('EXIF orientation turns the picture', async () => {
    await sharp(bytes, raw).withMetadata({ orientation: 6 }).png().toFile(file('turned.png'));
    expect(await readImageSize(file('turned.png'))).toEqual({ width: height, height: width });
    const image = await readImage(file('turned.png'));
    // Orientation 6: shown turned clockwise, so the stored lower left corner becomes the upper left one.
    const corner = 3 * (height - 1) * width;
    expect([...toBytes(image).subarray(0, 3)]).toEqual([...bytes.subarray(corner, corner + 3)]);
  });

  test('a 40,000 x 40,000 PNG header is refused at once, with the limit in the message', async () => {
    writeFileSync(file('bomb.png'), pngClaiming(40000, 40000));
    const start = performance.now();
    const resident = process.memoryUsage().rss;
    const error: unknown = await readImage(file('bomb.png')).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(SceneError);
    expect((error as Error).message).toMatch(
      /bomb\.png: 40000x40000 pixels .* limit of 16384 per side and 100\.0 megapixels/,
    );
    expect(performance.now() - start).toBeLessThan(1000);
    // The decoded picture would take 4.8 GB.
    expect(process.memoryUsage().rss - resident).toBeLessThan(5e8);
  });

  test('the megapixel limit holds for sides that are allowed, and limits can be set', async () => {
    writeFileSync(file('wide.png'), pngClaiming(16000, 8000));
    await expect(readImage(file('wide.png'))).rejects.toThrow(/16000x8000 pixels \(128\.0 megapixels\)/);
    await sharp(bytes, raw).webp().toFile(file('small.webp'));
    await expect(readImage(file('small.webp'), { maxSide: 19 })).rejects.toThrow(/20x12/);
    await expect(readImage(file('small.webp'), { maxPixels: 239 })).rejects.toThrow(SceneError);
    await expect(readImage(file('small.webp'), { maxPixels: 240 })).resolves.toBeDefined();
  });

  test('what is no image, is damaged or missing gives a typed error that names the file', async () => {
    writeFileSync(file('text.jpg'), 'this is no picture');
    await expect(readImage(file('text.jpg'))).rejects.toThrow(/text\.jpg: not a JPEG, PNG, WebP or TIFF/);
    writeFileSync(file('empty.png'), '');
    await expect(readImage(file('empty.png'))).rejects.toThrow(SceneError);
    writeFileSync(file('drawing.png'), '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
    await expect(readImage(file('drawing.png'))).rejects.toThrow(SceneError);
    writeFileSync(file('header.jpg'), Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0, 0]));
    await expect(readImage(file('header.jpg'))).rejects.toThrow(/header\.jpg: damaged jpeg file/);
    const large = { raw: { width: 200, height: 200, channels: 3 as const } };
    await sharp(patternBytes(200, 200), large).png().toFile(file('cut.png'));
    truncateSync(file('cut.png'), 900);
    await expect(readImage(file('cut.png'))).rejects.toThrow(/cut\.png: damaged/);
    writeFileSync(file('claims.png'), pngClaiming(300, 300));
    await expect(readImage(file('claims.png'))).rejects.toThrow(SceneError);
    await expect(readImage(file('none.png'))).rejects.toThrow(/none\.png: cannot be read/);
    await expect(readImage(root)).rejects.toThrow(/not a file/);
  });

  test('an aborted signal stops the reading', async () => {
    await expect(readImage(file('a.png'), { signal: AbortSignal.abort() })).rejects.toThrow(AbortError);
  });
});

describe('writing', () => {
  test('PNG round trip; values are clamped and rounded to the nearest of 256', async () => {
    const image = createImage(3, 1);
    image.data.set([-0.5, 0.5, 1.7, 100.49 / 255, 100.51 / 255, 1, 0, 0, 0]);
    await writePng(file('out.png'), image);
    expect([...toBytes(await readImage(file('out.png')))]).toEqual([0, 100, 0, 128, 101, 0, 255, 255, 0]);
    expect(readdirSync(root).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect((await encodePng(image)).equals(readFileSync(file('out.png')))).toBe(true);
    expect(toBytes(await decodeImage(readFileSync(file('out.png')))).equals(toBytes(image))).toBe(true);
  });

  test('a folder that is missing or not writable gives OutputError and leaves nothing', async () => {
    await expect(writePng(file('no/such/out.png'), createImage(2, 2))).rejects.toThrow(OutputError);
    expect(existsSync(file('no'))).toBe(false);
    mkdirSync(file('taken.png'));
    await expect(writePng(file('taken.png'), createImage(2, 2))).rejects.toThrow(OutputError);
    expect(readdirSync(root).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    if (process.getuid?.() !== 0) {
      mkdirSync(file('locked'));
      chmodSync(file('locked'), 0o500);
      await expect(writePng(file('locked/out.png'), createImage(2, 2))).rejects.toThrow(OutputError);
    }
  });

  test('bytes become byte / 255, grey in all planes; a window is a copy, the whole the image itself', () => {
    const ramp = Uint8Array.from({ length: 256 }, (_, i) => i);
    const unit = [...ramp].map((byte) => Math.fround(byte / 255));
    const image = fromBytes(ramp, 32, 8, 1);
    expect([...image.data]).toEqual([...unit, ...unit, ...unit]);
    // A picture may be a window of a larger buffer.
    const inside = { ...image, data: Float32Array.of(9, ...image.data, 9).subarray(1, 769) };
    expect([...cropImage(inside, { left: 30, top: 6, width: 2, height: 2 }).data.slice(2, 6)]).toEqual(
      [254, 255, 222, 223].map((byte) => unit[byte]),
    );
    expect(cropImage(image, { left: 0, top: 0, width: 32, height: 8 })).toBe(image);
  });

  test('NaN and wrong lengths are refused', async () => {
    const image = createImage(2, 2);
    image.data[7] = NaN;
    await expect(writePng(file('nan.png'), image)).rejects.toThrow(/channel 1, pixel 3 is NaN/);
    expect(existsSync(file('nan.png'))).toBe(false);
    expect(() => toBytes({ width: 3, height: 3, data: new Float32Array(5) })).toThrow(ShapeError);
    expect(() => createImage(0, 4)).toThrow(ShapeError);
    expect(() => cropImage(createImage(4, 4), { left: 1, top: 0, width: 4, height: 2 })).toThrow(/does not lie inside/);
  });
});

describe('resize', () => {
  /** The definition, written directly: float64, every input pixel visited. */
  function reference(
    input: number[][], width: number, height: number, support: number, kernel: (x: number) => number,
  ): number[][] {
    const weights = (from: number, to: number): number[][] =>
      Array.from({ length: to }, (_, i) => {
        const stretch = Math.max(from / to, 1);
        const w = Array.from({ length: from }, (_unused, k) => {
          const x = (k + 0.5 - ((i + 0.5) * from) / to) / stretch;
          return Math.abs(x) <= support ? kernel(x) : 0;
        });
        const sum = w.reduce((a, b) => a + b, 0);
        return w.map((v) => v / sum);
      });
    const wx = weights(input[0].length, width);
    const wy = weights(input.length, height);
    return wy.map((ry) =>
      wx.map((rx) => {
        const v = ry.reduce((s, b, y) => s + b * rx.reduce((t, a, x) => t + a * input[y][x], 0), 0);
        return Math.min(1, Math.max(0, v));
      }),
    );
  }
  const lanczos = (x: number): number =>
    x === 0 ? 1 : Math.abs(x) >= 3 ? 0 : (3 * Math.sin(Math.PI * x) * Math.sin((Math.PI * x) / 3)) / (Math.PI * x) ** 2;

  test.each([[9, 7], [50, 41], [31, 5], [1, 1]])('Lanczos to %dx%d agrees with its definition', (width, height) => {
    const source = fromBytes(patternBytes(31, 23, 3), 31, 23, 3);
    const out = resizeImage(source, width, height);
    for (let c = 0; c < 3; c++) {
      const row = (y: number): number[] => [...source.data.subarray((c * 23 + y) * 31, (c * 23 + y + 1) * 31)];
      const rows = Array.from({ length: 23 }, (_, y) => row(y));
      const want = reference(rows, width, height, 3, lanczos).flat();
      // float32 storage of rows and result: two roundings of 2^-25 each, worst seen 7.5e-8.
      want.forEach((w, i) => expect(Math.abs(out.data[c * width * height + i] - w)).toBeLessThan(1.2e-7));
    }
  });

  const filters: ResizeFilter[] = ['lanczos', 'bicubic', 'bilinear', 'box'];
  test.each(filters)('%s keeps a constant, and a ramp inside', (filter) => {
    const flat = createImage(17, 13);
    flat.data.fill(0.3);
    const out = resizeImage(flat, 40, 6, filter);
    for (const v of out.data) expect(Math.abs(v - 0.3)).toBeLessThan(1e-7);
    const ramp = createImage(64, 1);
    for (let i = 0; i < 192; i++) ramp.data[i] = (0.5 + (i % 64)) / 64;
    const half = resizeImage(ramp, 32, 1, filter);
    for (let i = 4; i < 28; i++) expect(Math.abs(half.data[i] - (i + 0.5) / 32)).toBeLessThan(1e-6);
  });

  test('box at a whole factor is the mean of the block', () => {
    const source = fromBytes(patternBytes(6, 4), 6, 4, 3);
    const out = resizeImage(source, 3, 2, 'box');
    const want = (source.data[0] + source.data[1] + source.data[6] + source.data[7]) / 4;
    expect(Math.abs(out.data[0] - want)).toBeLessThan(1e-7);
  });

  test('agrees with the image library on a real size change to one grey level', async () => {
    const bytes = patternBytes(120, 90, 2);
    const raw = { raw: { width: 120, height: 90, channels: 3 as const } };
    const how = { fit: 'fill', kernel: 'lanczos3', fastShrinkOnLoad: false } as const;
    const want = await sharp(bytes, raw).resize(48, 36, how).raw().toBuffer();
    const got = toBytes(resizeImage(fromBytes(bytes, 120, 90, 3), 48, 36));
    expect(Math.max(...got.map((b, i) => Math.abs(b - want[i])))).toBeLessThanOrEqual(1);
  });

  test('the same size is the same image; a bad size is refused', () => {
    const image = createImage(5, 4);
    expect(resizeImage(image, 5, 4)).toBe(image);
    expect(() => resizeImage(image, 0, 4)).toThrow(ShapeError);
    expect(() => resizeImage(image, 2.5, 4)).toThrow(ShapeError);
  });
});
