// Reads safetensors files by memory map. Layout: u64 little-endian header length, JSON header
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__": {…}}, then the data.
// Headers are hostile until proven otherwise: every length is checked before it is used; nothing is allocated by claim.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "native/core/dtype.h"
#include "native/core/shape.h"

namespace rl {

struct SafetensorsEntry {
  DType dtype;
  Shape shape;
  size_t offset;  // bytes from the start of the file
  size_t bytes;
};

class SafetensorsFile {
 public:
  // Throws ERR_WEIGHTS naming the file and what is wrong with it.
  static std::shared_ptr<SafetensorsFile> open(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  const std::map<std::string, SafetensorsEntry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // Throws ERR_WEIGHTS when there is no such tensor.
  const SafetensorsEntry& entry(const std::string& name) const;
  const unsigned char* data() const { return data_; }
  size_t file_bytes() const { return bytes_; }

 private:
  SafetensorsFile() = default;
  void parse();

  std::string path_;
  const unsigned char* data_ = nullptr;
  size_t bytes_ = 0;
  std::map<std::string, SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace rl
