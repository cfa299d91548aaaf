/** Work files of an edit: named f32 arrays in host memory as safetensors bytes. */
import type { HostTensor } from '../parity/kinds';

/** Safetensors file content of f32 arrays; other element types are not needed here. */
export function encodeTensors(tensors: Readonly<Record<string, HostTensor>>): Uint8Array {
  const header: Record<string, unknown> = {};
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { data, shape }] of Object.entries(tensors)) {
    const bytes = new Uint8Array(Float32Array.from(data).buffer);
    header[name] = { dtype: 'F32', shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
    parts.push(bytes);
  }
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, Buffer.from(padded), ...parts]);
}
