// Valid safetensors files give every entry; anything else throws ERR_WEIGHTS naming the file, and nothing crashes.
#include "native/core/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "test/native/harness.h"

using namespace rl;
using namespace rl::test;

namespace {

// A folder of this process, removed at exit.
struct Folder {
  std::string path = "/tmp/rl3dedit-safetensors-XXXXXX";
  Folder() { RL_CHECK(::mkdtemp(path.data()) != nullptr, code::kEnvironment, "no temporary folder"); }
  ~Folder() {
    for (const char* name : {"/file", "/pipe"}) ::unlink((path + name).c_str());
    ::rmdir(path.c_str());
  }
};

const std::string& file_path() {
  static const Folder folder;
  static const std::string path = folder.path + "/file";
  return path;
}

void write(const std::string& bytes) {
  std::ofstream(file_path(), std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string prefix(uint64_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i)));
  return bytes;
}

std::string file_of(const std::string& header, size_t data_bytes = 0) {
  std::string data;
  for (size_t i = 0; i < data_bytes; ++i) data.push_back(static_cast<char>(i * 37 + 11));
  return prefix(header.size()) + header + data;
}

std::shared_ptr<SafetensorsFile> open(const std::string& bytes) {
  write(bytes);
  return SafetensorsFile::open(file_path());
}

// What opening says: "" when it works, the message of an ERR_WEIGHTS error, or a text no case expects.
std::string refusal_of(const std::string& path) {
  try {
    SafetensorsFile::open(path);
    return "";
  } catch (const Error& error) {
    return std::string(error.code()) == code::kWeights ? error.what() : str("wrong code ", error.code(), ": ", error.what());
  } catch (const std::exception& error) {
    return str("not an rl::Error: ", error.what());
  }
}

void refuses(const std::string& what, const std::string& bytes, const std::string& reason) {
  write(bytes);
  const std::string message = refusal_of(file_path());
  CHECK_MSG(message.rfind(file_path() + ": ", 0) == 0 && message.find(reason) != std::string::npos,
            what << ": expected '" << reason << "', got '" << message << "'");
}

// One F32 tensor of one element, with `fields` in place of its description.
std::string one(const std::string& fields) { return file_of("{\"a\":{" + fields + "}}", 4); }

// A valid file with most things a header can hold.
std::string sample() {
  return file_of(
      R"({"__metadata__":{"format":"pt","note":"caf\u00e9 \"x\""},"blocks.0.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("blocks.0.bias":{"dtype":"BF16","shape":[3],"data_offsets":[24,30]},"empty":{"dtype":"F32","shape":[0,7],"data_offsets":[30,30]},)"
      R"("ids":{"dtype":"I64","shape":[2],"data_offsets":[30,46]},"scalar":{"dtype":"U8","shape":[],"data_offsets":[46,47]}}   )",
      47);
}

}  // namespace

TEST_CASE("every dtype is read with its place") {
  const std::vector<std::pair<const char*, DType>> dtypes = {
      {"F64", DType::f64}, {"I64", DType::i64}, {"F32", DType::f32}, {"I32", DType::i32}, {"BF16", DType::bf16},
      {"F16", DType::f16}, {"I16", DType::i16}, {"I8", DType::i8},   {"U8", DType::u8},   {"BOOL", DType::boolean}};
  std::string header = "{";
  size_t end = 0;
  for (const auto& [name, dtype] : dtypes) {
    const size_t begin = end;
    end += 6 * size_of(dtype);
    header += str(end > 48 ? "," : "", "\"t.", name, "\":{\"dtype\":\"", name, "\",\"shape\":[2,3],\"data_offsets\":[", begin, ",", end, "]}");
  }
  const auto file = open(file_of(header + "}", end));
  CHECK(file->path() == file_path() && file->entries().size() == dtypes.size() && file->metadata().empty());
  size_t offset = 8 + header.size() + 1;
  for (const auto& [name, dtype] : dtypes) {
    const SafetensorsEntry& entry = file->entry(str("t.", name));
    CHECK_MSG(entry.dtype == dtype && entry.shape == (Shape{2, 3}) && entry.bytes == 6 * size_of(dtype), name);
    CHECK_MSG(entry.offset == offset, name << " at " << entry.offset << ", expected " << offset);
    offset += entry.bytes;
  }
  CHECK(offset == file->file_bytes());
}

TEST_CASE("metadata, escapes, empty tensors, scalars and unaligned data") {
  const auto file = open(sample());
  CHECK(file->metadata().at("format") == "pt" && file->metadata().at("note") == "caf\xC3\xA9 \"x\"");
  CHECK(file->entry("empty").bytes == 0 && file->entry("empty").shape == (Shape{0, 7}));
  CHECK(file->entry("scalar").bytes == 1 && file->entry("scalar").shape.rank() == 0);
  // 24 + 6 bytes in: an I64 tensor that is not aligned to its element, where the bytes are still the written ones.
  const SafetensorsEntry& ids = file->entry("ids");
  CHECK(file->data()[ids.offset] == static_cast<unsigned char>(30 * 37 + 11));
  CHECK(file->data()[file->file_bytes() - 1] == static_cast<unsigned char>(46 * 37 + 11));
}

TEST_CASE("names keep what their escapes say") {
  const auto file = open(file_of(
      R"( {"\"\\\/\b\f\n\r\t" : {"shape":[ 0 ],"data_offsets":[0 , 0],"dtype":"F32"} ,)"
      "\n\t\r \"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\xC3\xA9\xF0\x9F\x98\x80\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1));
  CHECK(file->entries().count("\"\\/\b\f\n\r\t") == 1);
  CHECK(file->entries().count("A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA9\xF0\x9F\x98\x80") == 1);
}

TEST_CASE("files without tensors") {
  CHECK(open(file_of("{}"))->entries().empty());
  CHECK(open(file_of("{\"__metadata__\":{}}"))->metadata().empty());
  CHECK(open(one(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1],"data_offsets":[0,4])"))->entry("a").shape.rank() == 8);
}

TEST_CASE("an unknown name throws") {
  const auto file = open(sample());
  CHECK_THROWS(file->entry("blocks.1.weight"));
  CHECK_THROWS(file->entry(""));
}

TEST_CASE("things that are no file") {
  const std::string folder = file_path().substr(0, file_path().rfind('/'));
  CHECK(refusal_of(folder + "/none").find("No such file") != std::string::npos);
  CHECK(refusal_of(folder).find("not a regular file") != std::string::npos);
  CHECK(refusal_of("").find("No such file") != std::string::npos);
  CHECK(refusal_of("/dev/null").find("not a regular file") != std::string::npos);
  const std::string pipe = folder + "/pipe";
  CHECK(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(refusal_of(pipe).find("not a regular file") != std::string::npos);  // and does not wait for a writer
}

TEST_CASE("wrong lengths") {
  for (size_t length = 0; length < 8; ++length) refuses("short", std::string(length, '\0'), "shorter than 8 bytes");
  refuses("zero header", prefix(0), "expected '{'");
  refuses("2^60", prefix(uint64_t{1} << 60) + "{}", "header claims 1152921504606846976 bytes");
  refuses("2^64 - 1", prefix(~uint64_t{0}) + "{}", "header claims 18446744073709551615 bytes");
  refuses("2^64 - 8", prefix(~uint64_t{0} - 7) + "{}", "header claims");
  refuses("one byte too many", prefix(3) + "{}", "header claims 3 bytes, the file has 10");
  refuses("truncated header", sample().substr(0, 100), "truncated");
  refuses("truncated data", sample().substr(0, sample().size() - 1), "truncated");
  const std::string whole = one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])");
  refuses("no data", whole.substr(0, whole.size() - 4), "claims bytes [0,4) of 0");
  refuses("bytes behind the data", sample() + "xyz", "3 bytes after the last tensor");
}

TEST_CASE("a header over 100 MB is refused although the file is that large") {
  write(prefix(100'000'001));
  CHECK(::truncate(file_path().c_str(), 200'000'000) == 0);  // a hole: takes no space
  CHECK(refusal_of(file_path()).find("header claims 100000001 bytes") != std::string::npos);
}

TEST_CASE("bad JSON") {
  const std::string tensor = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
  for (const std::string header :
       {" ", "[]", "null", "1", "\"a\"", "{", "}", "{a:1}", "{'a':1}", "{\"a\"", "{\"a\":", "{\"a\":}", "{\"a\":1}", "{\"a\":null}",
        "{\"a\":[]}", "{\"a\":\"b\"}", "{\"a\":{}}", "{,}", "{\"\":{}}", "{\"__metadata__\":1}", "{\"__metadata__\":{\"a\":1}}",
        "{\"__metadata__\":{\"a\":null}}", "{\"__metadata__\":{\"a\"}}", "{\"__metadata__\":{\"a\":\"b\",}}",
        "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", "// x\n{}", "{}/**/", "\xEF\xBB\xBF{}", "{\"a"})
    refuses(header, file_of(header, 4), "header is not valid");
  for (const std::string& header : {"{\"a\":" + tensor, "{\"a\":" + tensor + ",}", "{\"a\":" + tensor + "\"b\":" + tensor + "}",
                                    "{\"a\" " + tensor + "}", "{\"a\":" + tensor + "}}", "{\"a\":" + tensor + "]",
                                    "{\"a\":" + tensor + "} x", "{\"a\":" + tensor + "}" + std::string(1, '\0')})
    refuses(header, file_of(header, 4), "header is not valid");
  refuses("deep nesting", file_of("{\"a\":" + std::string(1'000'000, '[')), "header is not valid");
  refuses("deep objects", file_of(std::string(1'000'000, '{')), "header is not valid");
}

TEST_CASE("bad text") {
  const auto named = [](const std::string& name) {
    return file_of("{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
  };
  write(named("good"));
  CHECK(refusal_of(file_path()).empty());
  for (int c = 0; c < 0x20; ++c) refuses(str("control ", c), named(std::string(1, static_cast<char>(c))), "control character");
  for (const char* name : {"\\uD800", "\\uDBFFx", "\\uD83D\\n", "\\uD83D\\u0041", "\\uD83D\\uD83D", "\\uDC00", "\\uDFFF"})
    refuses(name, named(name), "a surrogate stands alone");
  for (const char* name : {"\\u", "\\u12", "\\u12G4", "\\u+123", "\\u 123"}) refuses(name, named(name), "header is not valid");
  for (const char* name : {"\\x41", "\\'", "\\0", "\\U0041"}) refuses(name, named(name), "unknown escape");
  // Stray continuation, overlong, cut off, surrogate in UTF-8, beyond U+10FFFF, and bytes that never occur.
  for (const char* name : {"\x80", "\xC3", "\xC3(", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80", "\xF0\x80\x80\x80",
                           "\xF4\x90\x80\x80", "\xF0\x9F\x98", "\xF5\x80\x80\x80", "\xFE", "\xFF"})
    refuses("not UTF-8", named(name), "a string is not UTF-8");
  refuses("an unclosed string", file_of("{\"a"), "not closed");
  refuses("an escape at the end", file_of("{\"a\\"), "escape is cut off");
  refuses("a \\u at the end", file_of("{\"a\\u00"), "escape is cut off");
}

TEST_CASE("bad tensors") {
  const std::string dtype = R"("dtype":"F32",)", shape = R"("shape":[1],)", offsets = R"("data_offsets":[0,4])";
  refuses("no dtype", one(shape + offsets), "lacks");
  refuses("no shape", one(dtype + offsets), "lacks");
  refuses("no offsets", one(R"("shape":[1],"dtype":"F32")"), "lacks");
  refuses("two dtypes", one(dtype + dtype + shape + offsets), "two fields 'dtype'");
  refuses("two shapes", one(dtype + R"("shape":[],)" + shape + offsets), "two fields 'shape'");
  refuses("two offsets", one(dtype + shape + offsets + "," + offsets), "two fields 'data_offsets'");
  refuses("an unknown field", one(dtype + shape + offsets + R"(,"x":1)"), "unknown field 'x'");
  for (const char* name : {"F31", "f32", "", "F32 ", "F8_E4M3", "C64"})
    refuses(name, one(str("\"dtype\":\"", name, "\",", shape, offsets)), "unsupported dtype");
  refuses("dtype is a number", one("\"dtype\":32," + shape + offsets), "header is not valid");
  for (const char* sizes : {"-1", "1.5", "1e0", "1E3", "\"1\"", "null", "true", "[1]", "01", "00", "+1", "0x1", "1,", ",", "1 1",
                            "99999999999999999999", "9007199254740993", "18446744073709551617", "NaN"})
    refuses(sizes, one(dtype + "\"shape\":[" + sizes + "]," + offsets), "header is not valid");
  for (const char* pair : {"", "0", "0,", "0,4,8", "-4,0", "0,-4", "0.0,4", "0,4.0", "\"0\",4", "null,null", "0,1e1"})
    refuses(pair, one(dtype + shape + "\"data_offsets\":[" + pair + "]"), "header is not valid");
  refuses("shape is a number", one(dtype + "\"shape\":1," + offsets), "header is not valid");
  refuses("rank 9", one(dtype + "\"shape\":[1,1,1,1,1,1,1,1,1]," + offsets), "more than 8 dimensions");
  refuses("2^60 elements", one(dtype + "\"shape\":[1048576,1048576,1048576]," + offsets), "needs 4611686018427387904 bytes");
  refuses("2^61 elements", one(dtype + "\"shape\":[2097152,1048576,1048576]," + offsets), "beyond 2^63");
  refuses("2^64 elements", one(dtype + "\"shape\":[4294967296,4294967296]," + offsets), "beyond 2^63");
  refuses("2^318 elements", one(dtype + "\"shape\":[9007199254740992,9007199254740992,9007199254740992,9007199254740992,"
                                        "9007199254740992,9007199254740992]," + offsets), "beyond 2^63");
  refuses("reversed", one(dtype + shape + "\"data_offsets\":[4,0]"), "claims bytes [4,0)");
  refuses("behind the end", one(dtype + shape + "\"data_offsets\":[1,5]"), "claims bytes [1,5) of 4");
  refuses("far behind the end", one(dtype + shape + "\"data_offsets\":[9007199254740988,9007199254740992]"), "of 4");
  refuses("empty behind the end", one(dtype + "\"shape\":[0],\"data_offsets\":[5,5]"), "claims bytes [5,5) of 4");
  refuses("too few bytes", one(dtype + "\"shape\":[2]," + offsets), "needs 8 bytes, its offsets span 4");
  refuses("too many bytes", one("\"dtype\":\"BF16\"," + shape + offsets), "needs 2 bytes, its offsets span 4");
}

TEST_CASE("tensors that do not tile the data") {
  const auto two = [](const char* first, const char* second, size_t bytes) {
    return file_of(str("{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":", first,
                       "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":", second, "}}"), bytes);
  };
  write(two("[4,8]", "[0,4]", 8));
  CHECK(refusal_of(file_path()).empty());  // any order is fine
  refuses("the same bytes", two("[0,4]", "[0,4]", 4), "overlap");
  refuses("one byte shared", two("[0,4]", "[3,7]", 7), "'a' and 'b' overlap");
  refuses("a hole", two("[0,4]", "[5,9]", 9), "1 bytes before tensor 'b'");
  refuses("a hole at the start", two("[2,6]", "[6,10]", 10), "2 bytes before tensor 'a'");
  refuses("a hole at the end", two("[0,4]", "[4,8]", 9), "1 bytes after the last tensor");
  refuses("data of nobody", file_of("{}", 4), "4 bytes after the last tensor");
}

TEST_CASE("names that come twice") {
  const std::string tensor = R"({"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  refuses("tensor", file_of("{\"a\":" + tensor + ",\"a\":" + tensor + "}"), "tensor 'a' is named twice");
  refuses("by escape", file_of("{\"a\":" + tensor + ",\"\\u0061\":" + tensor + "}"), "tensor 'a' is named twice");
  refuses("metadata", file_of(R"({"__metadata__":{},"__metadata__":{}})"), "__metadata__ is named twice");
  refuses("metadata key", file_of(R"({"__metadata__":{"k":"1","k":"2"}})"), "metadata 'k' is named twice");
}

TEST_CASE("messages show hostile names short and without control characters") {
  const std::string name = "\\u001b[2J" + std::string(100'000, 'n');
  write(file_of("{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2));
  const std::string message = refusal_of(file_path());
  CHECK(message.find("'?[2Jnnn") != std::string::npos && message.size() < 400 && message.find('\x1b') == std::string::npos);
}

TEST_CASE("20,000 damaged files load or throw ERR_WEIGHTS") {
  const std::string valid = sample();
  const size_t header_end = valid.find("   ") + 3;
  const char alphabet[] = "{}[]\",:\\u0123456789-+.eEtfn \n\x00\x7f\x80\xc3\xed\xf0\xff";
  int loaded = 0, refused = 0;
  Random random(2603);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = valid;
    const int edits = 1 + static_cast<int>(random.next() % 4);
    for (int edit = 0; edit < edits && bytes.size() > 8; ++edit) {
      // Most edits hit the header behind the length: one in the length is nearly always caught at once.
      const size_t at = 8 + random.next() % (std::min(header_end, bytes.size()) - 8);
      const char letter = alphabet[random.next() % (sizeof alphabet - 1)];
      switch (random.next() % 8) {
        case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << random.next() % 8)); break;
        case 1: bytes[at] = letter; break;
        case 2: bytes[random.next() % 8] = static_cast<char>(random.next()); break;
        case 3: bytes.resize(random.next() % bytes.size()); break;
        case 4: bytes.insert(at, 1, letter); break;
        case 5: bytes.erase(at, 1 + random.next() % 12); break;
        case 6: bytes.insert(at, bytes.substr(8 + random.next() % (bytes.size() - 8), random.next() % 64)); break;
        default: {  // another digit for a digit: wrong numbers in valid JSON
          const size_t digit = bytes.find_first_of("0123456789", at);
          if (digit != std::string::npos) bytes[digit] = static_cast<char>('0' + random.next() % 10);
        }
      }
    }
    // Half the time the length fits again, so that the JSON itself is what is tried.
    if (random.next() % 2 == 0 && bytes.size() >= 8 + 47) bytes.replace(0, 8, prefix(bytes.size() - 8 - 47));
    write(bytes);
    try {
      const auto file = SafetensorsFile::open(file_path());
      ++loaded;
      unsigned sum = 0;
      for (const auto& [name, entry] : file->entries()) {
        const bool inside = entry.offset <= file->file_bytes() && entry.bytes <= file->file_bytes() - entry.offset &&
                            entry.bytes == static_cast<size_t>(entry.shape.numel()) * size_of(entry.dtype);
        CHECK_MSG(inside, "round " << round << ": " << name << " leaves the file");
        for (size_t i = 0; inside && i < entry.bytes; ++i) sum += file->data()[entry.offset + i];
      }
      CHECK(sum < 1u << 24);
    } catch (const Error& error) {
      ++refused;
      CHECK_MSG(std::string(error.code()) == code::kWeights, "round " << round << ": " << error.code() << " " << error.what());
    } catch (const std::exception& error) {
      report_failure(__FILE__, __LINE__, str("round ", round, ": not an rl::Error: ", error.what()));
    }
  }
  std::printf("  %d loaded, %d refused\n", loaded, refused);
  CHECK(loaded > 100 && refused > 10'000);  // both outcomes are reached
}

int main() { return run_all(); }
