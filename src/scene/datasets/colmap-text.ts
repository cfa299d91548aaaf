/** COLMAP's text files as pure functions of their bytes, read line by line: whole files may be longer than a string. */
import { SceneError } from '../../binding/errors';
import type { ScenePoints } from '../scene';
import {
  checkedCamera, checkedImage, checkUnique, type ColmapCamera, type ColmapImage, colmapModel,
} from './colmap-model';

const [tab, newline, carriageReturn, space, hash] = [9, 10, 13, 32, 35];
const isBlank = (byte: number): boolean => byte === space || byte === tab || byte === carriageReturn;

/** One line without its ending and outer blanks, as a window of the file. */
interface Line {
  readonly number: number;
  readonly bytes: Uint8Array;
}

function* linesOf(bytes: Uint8Array): Generator<Line> {
  // A byte order mark is no part of the first line.
  let at = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  for (let number = 1; at < bytes.length; number++) {
    const found = bytes.indexOf(newline, at);
    const next = found < 0 ? bytes.length : found;
    let [start, end] = [at, next];
    while (start < end && isBlank(bytes[start])) start++;
    while (end > start && isBlank(bytes[end - 1])) end--;
    if (bytes[start] !== hash || start === end) yield { number, bytes: bytes.subarray(start, end) };
    at = next + 1;
  }
}

function* recordsOf(bytes: Uint8Array): Generator<Line> {
  for (const line of linesOf(bytes)) if (line.bytes.length > 0) yield line;
}

/** Longest line of a camera or an image; only lines of observations and tracks are longer, and those go on unread. */
const longestLine = 8192;

/** The line's text, up to a limit of bytes. */
function textOf({ bytes }: Line, limit = longestLine): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, limit)).toString('utf8');
}

function wordsOf(line: Line, limit = longestLine): string[] {
  return textOf(line, limit).split(/[ \t]+/);
}

function checkLength({ bytes }: Line, what: string): void {
  if (bytes.length > longestLine) {
    throw new SceneError(`${what}: expected a line of at most ${longestLine} bytes, got ${bytes.length}`);
  }
}

function wordCount(bytes: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (!isBlank(bytes[i]) && (i === 0 || isBlank(bytes[i - 1]))) count++;
  }
  return count;
}

const isWhole = (word: string): boolean => /^-?\d{1,15}$/.test(word);
/** Numbers as programs print them, the not-a-numbers of Windows among them ("-nan(ind)", "1.#QNAN"). */
const isNumber = (word: string): boolean =>
  /^[-+]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan(?:\(\w*\))?|inf(?:inity)?|\d\.#\w+)$/i.test(word);
const valueOf = (word: string): number => (/^[-+.\deE]+$/.test(word) ? Number(word) : Number.NaN);

function id(word: string, what: string): number {
  if (!isWhole(word) || Number(word) < 0) throw new SceneError(`${what}: "${word}" is no id; expected a whole number`);
  return Number(word);
}

/** Cameras of a `cameras.txt`. @throws SceneError with file and line. */
export function parseCamerasText(bytes: Uint8Array, file: string): ColmapCamera[] {
  const cameras: ColmapCamera[] = [];
  for (const line of recordsOf(bytes)) {
    const what = `${file}:${line.number}`;
    checkLength(line, what);
    const words = wordsOf(line);
    if (words.length < 4) {
      throw new SceneError(`${what}: expected CAMERA_ID MODEL WIDTH HEIGHT PARAMS[], got "${words.join(' ')}"`);
    }
    const { name, parameters } = colmapModel(words[1], what);
    if (words.length !== 4 + parameters.length) {
      throw new SceneError(
        `${what}: ${name} has ${parameters.length} parameters (${parameters.join(', ')}), got ${words.length - 4}`,
      );
    }
    const [width, height] = [valueOf(words[2]), valueOf(words[3])];
    cameras.push(
      checkedCamera({ id: id(words[0], what), model: name, width, height, params: words.slice(4).map(valueOf) }, what),
    );
  }
  checkUnique(cameras, (camera) => camera.id, `${file}: camera id`);
  return cameras;
}

/**
 * Whether the line after an image's is its observations (X Y POINT3D_ID, again and again), and not the next image, as
 * some programs leave empty observations away: the first words are enough to tell.
 */
function isObservations(line: Line): boolean {
  if (line.bytes.length === 0) return true;
  if (wordCount(line.bytes) % 3 !== 0) return false;
  // Twelve numbers of at most forty characters; a word that the limit cuts is not looked at.
  const words = wordsOf(line, 480).slice(0, 12);
  return words.every((word, i) => (i % 3 === 2 ? isWhole(word) : isNumber(word)));
}

function imageOf(line: Line, what: string): ColmapImage {
  checkLength(line, what);
  const match = /^((?:[^ \t]+[ \t]+){9})([^]+)$/.exec(textOf(line));
  if (!match) {
    throw new SceneError(
      `${what}: expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, got "${textOf(line, 80)}"`,
    );
  }
  const words = match[1].split(/[ \t]+/);
  const numbers = words.slice(1, 8).map(valueOf);
  const image = {
    id: id(words[0], what), quaternion: numbers.slice(0, 4), translation: numbers.slice(4),
    cameraId: id(words[8], what), name: match[2],
  };
  return checkedImage(image, what);
}

/** Images of an `images.txt`, in file order; names may hold spaces. @throws SceneError with file and line. */
export function parseImagesText(bytes: Uint8Array, file: string): ColmapImage[] {
  const images: ColmapImage[] = [];
  let afterImage = false;
  for (const line of linesOf(bytes)) {
    if (afterImage && isObservations(line)) {
      afterImage = false;
    } else if (line.bytes.length > 0) {
      images.push(imageOf(line, `${file}:${line.number}`));
      afterImage = true;
    }
  }
  checkUnique(images, ({ name }) => name, `${file}: image name`);
  return images;
}

const pointWords = 8;

/** Points of a `points3D.txt`. @throws SceneError with file and line. */
export function parsePointsText(bytes: Uint8Array, file: string): ScenePoints {
  let count = 0;
  for (const { bytes: record } of recordsOf(bytes)) count += Math.sign(record.length);
  const positions = new Float32Array(3 * count);
  const colors = new Uint8Array(3 * count);
  let at = 0;
  for (const line of recordsOf(bytes)) {
    const words = wordsOf(line, 512).slice(0, pointWords);
    const [xyz, rgb] = [words.slice(1, 4).map(valueOf), words.slice(4, 7).map(valueOf)];
    const colored = rgb.every((value) => Number.isInteger(value) && value >= 0 && value <= 255);
    if (words.length < pointWords || !colored || !xyz.every((x) => Number.isFinite(Math.fround(x)))) {
      throw new SceneError(
        `${file}:${line.number}: expected POINT3D_ID X Y Z R G B ERROR TRACK[], got "${textOf(line, 80)}"`,
      );
    }
    positions.set(xyz, at);
    colors.set(rgb, at);
    at += 3;
  }
  return { count, positions, colors };
}
