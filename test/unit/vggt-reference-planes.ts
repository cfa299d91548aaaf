/** Maps [C, H, W] in float64 for the reference of VGGT's dense heads. */
export interface Planes {
  c: number;
  h: number;
  w: number;
  data: Float64Array;
}

export function planes(c: number, h: number, w: number, value: (c: number, y: number, x: number) => number): Planes {
  const data = new Float64Array(c * h * w);
  for (let i = 0; i < data.length; i++) data[i] = value(Math.floor(i / h / w), Math.floor(i / w) % h, i % w);
  return { c, h, w, data };
}

export function at(x: Planes, c: number, y: number, u: number): number {
  return y < 0 || u < 0 || y >= x.h || u >= x.w ? 0 : x.data[(c * x.h + y) * x.w + u];
}

export function rectified(x: Planes): Planes {
  return { ...x, data: x.data.map((value) => Math.max(0, value)) };
}

export function plus(a: Planes, b: Planes): Planes {
  return { ...a, data: a.data.map((value, i) => value + b.data[i]) };
}

/** Bilinear, corners on corners. */
export function cornered(x: Planes, h: number, w: number): Planes {
  const place = (i: number, from: number, to: number): [number, number] => {
    const source = to === 1 ? 0 : (i * (from - 1)) / (to - 1);
    const low = Math.min(Math.floor(source), Math.max(0, from - 2));
    return [low, source - low];
  };
  return planes(x.c, h, w, (c, y, u) => {
    const [[i, fy], [j, fx]] = [place(y, x.h, h), place(u, x.w, w)];
    const row = (r: number): number => at(x, c, r, j) * (1 - fx) + at(x, c, r, j + 1) * fx;
    return row(i) * (1 - fy) + (fy > 0 ? row(i + 1) * fy : 0);
  });
}

/** x + 0.1 · sinusoids of the position on the image plane. */
export function placed(x: Planes, aspect: number): Planes {
  const k = x.c / 4;
  const diagonal = Math.sqrt(aspect ** 2 + 1);
  const coordinate = (i: number, count: number, span: number): number => (count === 1 ? 0 : -span + (2 * span * i) / (count - 1)) * ((count - 1) / count);
  const table = planes(x.c, x.h, x.w, (c, y, u) => {
    const value = c < 2 * k ? coordinate(u, x.w, aspect / diagonal) : coordinate(y, x.h, 1 / diagonal);
    const angle = value * 100 ** (-(c % k) / k);
    return 0.1 * (Math.floor(c / k) % 2 === 0 ? Math.sin(angle) : Math.cos(angle));
  });
  return plus(x, table);
}
