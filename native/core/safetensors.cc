#include "native/core/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "native/core/json_reader.h"

namespace rl {

namespace {

constexpr size_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

DType parse_dtype(const std::string& name, const JsonReader& reader) {
  if (name == "F32") return DType::f32;
  if (name == "BF16") return DType::bf16;
  if (name == "F16") return DType::f16;
  if (name == "F64") return DType::f64;
  if (name == "I64") return DType::i64;
  if (name == "I32") return DType::i32;
  if (name == "I16") return DType::i16;
  if (name == "I8") return DType::i8;
  if (name == "U8") return DType::u8;
  if (name == "BOOL") return DType::boolean;
  reader.fail(str("unsupported dtype ", quoted(name)));
}

struct Span {
  size_t begin, end;
  const std::string* name;
};

}  // namespace

std::shared_ptr<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  // O_NONBLOCK: a pipe without a writer must be refused below, not waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  RL_CHECK(fd >= 0, code::kWeights, path, ": ", std::strerror(errno));
  struct stat info {};
  const bool known = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const size_t bytes = known ? static_cast<size_t>(info.st_size) : 0;
  if (!known || bytes < 8) {
    ::close(fd);
    throw Error(code::kWeights, str(path, ": not a safetensors file (", known ? "shorter than 8 bytes" : "not a regular file", ")"));
  }
  void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  const int map_errno = errno;
  ::close(fd);
  RL_CHECK(mapped != MAP_FAILED, code::kWeights, path, ": cannot be mapped: ", std::strerror(map_errno));
  std::shared_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->path_ = path;
  file->data_ = static_cast<const unsigned char*>(mapped);
  file->bytes_ = bytes;
  file->parse();
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (data_ != nullptr) ::munmap(const_cast<unsigned char*>(data_), bytes_);
}

const SafetensorsEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  RL_CHECK(found != entries_.end(), code::kWeights, path_, ": no tensor ", quoted(name));
  return found->second;
}

void SafetensorsFile::parse() {
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | data_[i];
  RL_CHECK(header_bytes <= kMaxHeaderBytes && header_bytes <= bytes_ - 8, code::kWeights, path_, ": header claims ",
           header_bytes, " bytes, the file has ", bytes_, "; it is truncated or not a safetensors file");
  const size_t data_start = 8 + static_cast<size_t>(header_bytes);
  const size_t data_bytes = bytes_ - data_start;

  JsonReader reader({reinterpret_cast<const char*>(data_) + 8, static_cast<size_t>(header_bytes)}, path_);
  bool has_metadata = false;
  reader.expect('{');
  if (!reader.accept('}')) {
    do {
      const std::string name = reader.string();
      reader.expect(':');
      reader.expect('{');
      if (name == "__metadata__") {
        if (has_metadata) reader.fail("__metadata__ is named twice");
        has_metadata = true;
        if (!reader.accept('}')) {
          do {
            const std::string key = reader.string();
            reader.expect(':');
            const bool added = metadata_.emplace(key, reader.string()).second;
            if (!added) reader.fail(str("metadata ", quoted(key), " is named twice"));
          } while (reader.accept(','));
          reader.expect('}');
        }
        continue;
      }
      SafetensorsEntry entry{};
      int64_t begin = 0, end = 0;
      bool has_dtype = false, has_shape = false, has_offsets = false;
      const auto once = [&](bool& has, const std::string& key) {
        if (has) reader.fail(str("tensor ", quoted(name), " has two fields ", quoted(key)));
        has = true;
      };
      do {
        const std::string key = reader.string();
        reader.expect(':');
        if (key == "dtype") {
          once(has_dtype, key);
          entry.dtype = parse_dtype(reader.string(), reader);
        } else if (key == "shape") {
          once(has_shape, key);
          reader.expect('[');
          if (!reader.accept(']')) {
            do {
              if (entry.shape.rank() == Shape::kMaxRank) reader.fail(str("tensor ", quoted(name), " has more than 8 dimensions"));
              entry.shape.push_back(reader.integer());
            } while (reader.accept(','));
            reader.expect(']');
          }
        } else if (key == "data_offsets") {
          once(has_offsets, key);
          reader.expect('[');
          begin = reader.integer();
          reader.expect(',');
          end = reader.integer();
          reader.expect(']');
        } else {
          reader.fail(str("tensor ", quoted(name), " has an unknown field ", quoted(key)));
        }
      } while (reader.accept(','));
      reader.expect('}');
      if (!has_dtype || !has_shape || !has_offsets) reader.fail(str("tensor ", quoted(name), " lacks dtype, shape or data_offsets"));

      int64_t expected = static_cast<int64_t>(size_of(entry.dtype));
      for (int64_t dim : entry.shape)
        if (__builtin_mul_overflow(expected, dim, &expected)) reader.fail(str("tensor ", quoted(name), " claims a size beyond 2^63 bytes"));
      RL_CHECK(end >= begin && static_cast<uint64_t>(end) <= data_bytes, code::kWeights, path_, ": tensor ", quoted(name),
               " claims bytes [", begin, ",", end, ") of ", data_bytes, "; the file is truncated");
      RL_CHECK(end - begin == expected, code::kWeights, path_, ": tensor ", quoted(name), " ", entry.shape, " ", name_of(entry.dtype),
               " needs ", expected, " bytes, its offsets span ", end - begin);
      entry.offset = data_start + static_cast<size_t>(begin);
      entry.bytes = static_cast<size_t>(expected);
      RL_CHECK(entries_.emplace(name, entry).second, code::kWeights, path_, ": tensor ", quoted(name), " is named twice");
    } while (reader.accept(','));
    reader.expect('}');
  }
  if (!reader.at_end()) reader.fail("text after the closing brace");

  // The tensors tile the data: no overlap, no hole, nothing behind them.
  std::vector<Span> spans;
  for (const auto& [name, entry] : entries_)
    if (entry.bytes > 0) spans.push_back({entry.offset, entry.offset + entry.bytes, &name});
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  size_t covered = data_start;
  for (size_t i = 0; i < spans.size(); covered = spans[i++].end) {
    RL_CHECK(spans[i].begin >= covered, code::kWeights, path_, ": tensors ", quoted(*spans[i - 1].name), " and ",
             quoted(*spans[i].name), " overlap");
    RL_CHECK(spans[i].begin == covered, code::kWeights, path_, ": ", spans[i].begin - covered, " bytes before tensor ",
             quoted(*spans[i].name), " belong to no tensor");
  }
  RL_CHECK(covered == bytes_, code::kWeights, path_, ": ", bytes_ - covered,
           " bytes after the last tensor belong to no tensor");
}

}  // namespace rl
