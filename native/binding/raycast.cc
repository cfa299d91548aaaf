// raycast, raycastGBuffer, shadeGBuffer: synchronous and on the host, because training data is prepared there.
#include "native/ops/geom/raycast.h"

#include "native/binding/state.h"

namespace rl::binding {

namespace {

struct Request {
  Napi::Float32Array scene;
  int64_t views;
  int width, height, spp;
  size_t pixels() const { return static_cast<size_t>(views) * width * height; }
};

Napi::Float32Array floats_arg(const Napi::CallbackInfo& info, size_t i) {
  if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Error(code::kShape, str("argument ", i, " must be a Float32Array"));
  return info[i].As<Napi::Float32Array>();
}

// Arguments 2.. are width, height, spp; the size is bounded here so that the outputs can be allocated.
Request read_request(const Napi::CallbackInfo& info, int64_t views) {
  const Request request{floats_arg(info, 0), views, static_cast<int>(number_arg(info, 2)), static_cast<int>(number_arg(info, 3)),
                        static_cast<int>(number_arg(info, 4))};
  check_size({request.width, request.height, request.spp});
  RL_CHECK(views >= 0 && views <= kMaxViews && request.pixels() <= (size_t{1} << 28), code::kShape, "raycast: ", views,
           " views of ", request.width, "x", request.height, " are too many");
  return request;
}

int64_t camera_views(const Napi::Float32Array& cameras) {
  RL_CHECK(cameras.ElementLength() % kCameraFloats == 0, code::kShape, "raycast: cameras must have ", int64_t{kCameraFloats},
           " numbers each, got ", cameras.ElementLength());
  return static_cast<int64_t>(cameras.ElementLength()) / kCameraFloats;
}

// raycast(scene, cameras, width, height, spp) -> {rgb, depth, ids}
Napi::Value raycast_views(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto cameras = floats_arg(info, 1);
    auto request = read_request(info, camera_views(cameras));
    auto rgb = Napi::Float32Array::New(info.Env(), 3 * request.pixels());
    auto depth = Napi::Float32Array::New(info.Env(), request.pixels());
    auto ids = Napi::Int32Array::New(info.Env(), request.pixels());
    raycast(request.scene.Data(), static_cast<int64_t>(request.scene.ElementLength()), cameras.Data(), request.views,
            request.width, request.height, request.spp, rgb.Data(), depth.Data(), ids.Data(), nullptr);
    auto result = Napi::Object::New(info.Env());
    result.Set("rgb", rgb);
    result.Set("depth", depth);
    result.Set("ids", ids);
    return result;
  });
}

// raycastGBuffer(scene, cameras, width, height, spp) -> {samples, depth, ids}
Napi::Value gbuffer_views(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto cameras = floats_arg(info, 1);
    auto request = read_request(info, camera_views(cameras));
    auto samples = Napi::Uint8Array::New(info.Env(), 4 * request.pixels() * static_cast<size_t>(request.spp));
    auto depth = Napi::Float32Array::New(info.Env(), request.pixels());
    auto ids = Napi::Int32Array::New(info.Env(), request.pixels());
    raycast_gbuffer(request.scene.Data(), static_cast<int64_t>(request.scene.ElementLength()), cameras.Data(), request.views,
                    request.width, request.height, request.spp, samples.Data(), depth.Data(), ids.Data(), nullptr);
    auto result = Napi::Object::New(info.Env());
    result.Set("samples", samples);
    result.Set("depth", depth);
    result.Set("ids", ids);
    return result;
  });
}

// shadeGBuffer(scene, samples, width, height, spp) -> rgb; the number of views follows from the samples
Napi::Value shade_views(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    RL_CHECK(info[1].IsTypedArray() && info[1].As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array, code::kShape,
             "shadeGBuffer: samples must be a Uint8Array");
    auto samples = info[1].As<Napi::Uint8Array>();
    auto request = read_request(info, 1);
    const size_t view_bytes = 4 * request.pixels() * static_cast<size_t>(request.spp);
    RL_CHECK(view_bytes > 0 && samples.ElementLength() % view_bytes == 0, code::kShape, "shadeGBuffer: ",
             samples.ElementLength(), " bytes are no whole number of views of ", view_bytes);
    request.views = static_cast<int64_t>(samples.ElementLength() / view_bytes);
    auto rgb = Napi::Float32Array::New(info.Env(), 3 * request.pixels());
    shade_gbuffer(request.scene.Data(), static_cast<int64_t>(request.scene.ElementLength()), samples.Data(), request.views,
                  request.width, request.height, request.spp, rgb.Data());
    return rgb;
  });
}

}  // namespace

void export_raycast(Napi::Env env, Napi::Object exports) {
  exports.Set("raycast", Napi::Function::New(env, raycast_views, "raycast"));
  exports.Set("raycastGBuffer", Napi::Function::New(env, gbuffer_views, "raycastGBuffer"));
  exports.Set("shadeGBuffer", Napi::Function::New(env, shade_views, "shadeGBuffer"));
}

}  // namespace rl::binding
