// InputStream on any bytes as .gz and as .zst: an Error(kData), or bytes that come again in pieces of another size.
#include "core/data/input_stream.h"
#include "ops/base/error.h"
#include "tests/fuzz/fuzzing.h"

namespace {

std::string read(const std::string& path, size_t piece, size_t limit) {
  const auto stream = tsugi::InputStream::open(path);
  std::string text;
  std::string buffer(piece, '\0');
  while (text.size() < limit) {
    const size_t got = stream->read(buffer);
    text.append(buffer, 0, got);
    if (got < piece) break;
  }
  return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tsugi;
  static const fuzzing::MemoryFile gzip(".gz");
  static const fuzzing::MemoryFile zstd(".zst");
  for (const fuzzing::MemoryFile* file : {&gzip, &zstd}) {
    file->put({data, size});
    constexpr size_t kLimit = 1 << 16;
    std::string text;
    try {
      text = read(file->path(), 4096, kLimit);
    } catch (const Error& error) {
      CHECK(error.code() == ExitCode::kData) << error.what();
      continue;
    }
    if (text.size() < kLimit) CHECK(read(file->path(), 77, kLimit) == text);
  }
  return 0;
}
