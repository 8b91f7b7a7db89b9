// InputStream on any bytes as .gz and as .zst: an Error(kData), or bytes that come again in pieces of another size.
#include "core/data/input_stream.h"
#include "tests/fuzz/fuzzing.h"

namespace {

std::string read_stream(const std::string& path, size_t piece, size_t limit) {
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

TSUGI_FUZZ_TARGET(input_stream) {
  using namespace tsugi;
  static const fuzzing::MemoryFile gzip(".gz");
  static const fuzzing::MemoryFile zstd(".zst");
  for (const fuzzing::MemoryFile* file : {&gzip, &zstd}) {
    file->put(input);
    constexpr size_t kLimit = 1 << 16;
    std::string text;
    bool read = false;
    fuzzing::refuse_or([&] {
      text = read_stream(file->path(), 4096, kLimit);
      read = true;
    });
    if (read && text.size() < kLimit) CHECK(read_stream(file->path(), 77, kLimit) == text);
  }
}
