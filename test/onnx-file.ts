/** Writes small ONNX files for tests: just enough of the protobuf encoding for a graph of standard nodes. */

type Field = Buffer;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(bytes);
}

const int = (field: number, value: number): Field => Buffer.concat([varint(field * 8), varint(value)]);
const bytes = (field: number, value: Buffer | string): Field => {
  const content = Buffer.from(value as Buffer);
  return Buffer.concat([varint(field * 8 + 2), varint(content.length), content]);
};
const message = (field: number, ...parts: Field[]): Field => bytes(field, Buffer.concat(parts));

/** A dimension is a number or a name. */
type Dims = readonly (number | string)[];

function port(field: number, name: string, dims: Dims): Field {
  const shape = dims.map((dim) => message(1, typeof dim === 'number' ? int(1, dim) : bytes(2, dim)));
  // Element type 1 is float32.
  return message(field, bytes(1, name), message(2, message(1, int(1, 1), message(2, ...shape))));
}

export interface OnnxNode {
  op: string;
  inputs: readonly string[];
  outputs: readonly string[];
  /** Integer attributes. */
  attributes?: Readonly<Record<string, number | readonly number[]>>;
}

export interface OnnxGraph {
  inputs: Readonly<Record<string, Dims>>;
  outputs: Readonly<Record<string, Dims>>;
  nodes: readonly OnnxNode[];
  constants?: Readonly<Record<string, { shape: readonly number[]; data: readonly number[] }>>;
}

/** Content of an ONNX file (opset 13, float32). */
export function onnxFile({ inputs, outputs, nodes, constants = {} }: OnnxGraph): Buffer {
  const node = ({ op, inputs: from, outputs: to, attributes = {} }: OnnxNode): Field =>
    message(
      1,
      ...from.map((name) => bytes(1, name)),
      ...to.map((name) => bytes(2, name)),
      bytes(4, op),
      ...Object.entries(attributes).map(([name, value]) =>
        typeof value === 'number'
          ? message(5, bytes(1, name), int(3, value), int(20, 2))
          : message(5, bytes(1, name), ...value.map((item) => int(8, item)), int(20, 7)),
      ),
    );
  const graph = [
    ...nodes.map(node),
    bytes(2, 'graph'),
    ...Object.entries(constants).map(([name, { shape, data }]) =>
      message(
        5,
        ...shape.map((size) => int(1, size)),
        int(2, 1),
        bytes(8, name),
        bytes(9, Buffer.from(Float32Array.from(data).buffer)),
      ),
    ),
    ...Object.entries(inputs).map(([name, dims]) => port(11, name, dims)),
    ...Object.entries(outputs).map(([name, dims]) => port(12, name, dims)),
  ];
  return Buffer.concat([int(1, 8), message(7, ...graph), message(8, int(2, 13))]);
}
