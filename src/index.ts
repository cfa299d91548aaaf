/**
 * rl3dedit as a library: the apps as async streams of events, the networks and samplers they stand on, scenes, and the
 * runtime with its ops.
 */
export { edit, editStageNames } from './app/edit';
export type { EditRecord, EditResult, Verification } from './app/edit';
export { demo } from './app/demo';
export { parity } from './app/parity';
export type { ParityCaseResult, ParityOptions, ParitySummary } from './app/parity';
export { preedit, Preedits, readPreedits } from './app/preedit';
export type { PreeditEntry, PreeditRecord, PreeditResult } from './app/preedit';
export { pretrain } from './app/pretrain';
export { reconstruct } from './app/reconstruct';
export type { ReconstructRecord, ReconstructResult } from './app/reconstruct';
export { refitEdit } from './app/refit';
export type { RefitCommandResult } from './app/refit';
export { runApp } from './app/events';
export type { AppContext, AppEvent, Renderer } from './app/events';
export { Editor, loadEditor } from './app/model';
export type { EditorOptions, EncodedPrompt, Verifier, VerifierReading } from './app/model';

export * from './binding/errors';

export { demoSchema } from './config/demo';
export type { DemoSettings } from './config/demo';
export { editSchema } from './config/edit';
export type { EditSettings } from './config/edit';
export { preeditSchema } from './config/preedit';
export type { PreeditSettings } from './config/preedit';
export { pretrainSchema } from './config/pretrain';
export type { PretrainSettings } from './config/pretrain';

export { reconstructSchema } from './config/reconstruct';
export type { ReconstructSettings } from './config/reconstruct';
export { refitSchema } from './config/refit';
export type { RefitSettings } from './config/refit';

export * as flow from './flow';
export * as flux from './models/flux';
export { createLora, Lora } from './models/lora';
export { loadLora } from './models/lora-file';
export { OnnxModule } from './models/onnx';
export type { OnnxArray, OnnxOptions, OnnxPort } from './models/onnx';
export { ClipTextEncoder } from './models/text/clip';
export { T5Encoder } from './models/text/t5';
export { AutoencoderKL } from './models/vae/autoencoder';
export * as vggt from './models/vggt';
export * as scenes from './scene';
export * as gaussians from './scene/gaussians';

export { Device } from './tensor/device';
export * as ops from './tensor/ops';
export { RandomWeights } from './tensor/random-weights';
export { SafetensorsFile, SafetensorsWeights, writeSafetensors } from './tensor/safetensors';
export { scope, unscoped } from './tensor/scope';
export { checkpoint, noGrad, record, Tape } from './tensor/tape';
export { Tensor } from './tensor/tensor';
export type { DType, Shape } from './tensor/tensor';
export { Weights } from './tensor/weights';
export type { WeightSource } from './tensor/weights';
export { train } from './app/train';
export type { TrainOptions, TrainResult } from './app/train';
export { trainSchema } from './config/train';
export type { TrainSettings } from './config/train';
export type { RewardGroup, RewardTerm } from './rewards';
