// TokenFile::open on any bytes: an Error, or a file whose every token can be read and whose documents are in order.
//
// Input: u8 flags, u16 size of the list of documents, the list, then the token file. Flag 1: no list; flag 2: the
// checksums are made right, so that what is behind them is reached.
#include <cstring>

#include "core/data/crc32c.h"
#include "core/data/token_file.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(token_file) {
  using namespace tsugi;
  static const fuzzing::MemoryFile file(".bin");
  static const fuzzing::MemoryFile list(".bin.documents");
  if (input.empty()) return;
  const uint8_t flags = fuzzing::take(input, 1)[0];
  const fuzzing::Input listed = fuzzing::take_sized(input);
  std::vector<uint8_t> documents(listed.begin(), listed.end());
  std::vector<uint8_t> tokens(input.begin(), input.end());
  if ((flags & 2) != 0 && documents.size() >= 24) {
    const uint32_t checksum = crc32c(std::as_bytes(std::span(documents)).subspan(16));
    std::memcpy(documents.data() + 12, &checksum, 4);
    if (tokens.size() >= 64) std::memcpy(tokens.data() + 40, &checksum, 4);
  }
  file.put(tokens);
  if ((flags & 1) != 0) {
    list.remove();
  } else {
    list.put(documents);
  }
  fuzzing::refuse_or([&] {
    const TokenFile opened = TokenFile::open(file.path());
    CHECK_GT(opened.tokens(), 0);
    CHECK_LE(static_cast<size_t>(opened.tokens()), tokens.size() / 2);
    int64_t before = -1;
    for (const int64_t start : opened.documents()) {
      CHECK(start > before && start < opened.tokens()) << start;
      before = start;
    }
    std::vector<int32_t> ids(static_cast<size_t>(opened.tokens()));
    opened.read(0, int64_t{1} << 31, ids);
    CHECK(std::ranges::all_of(ids, [](int32_t id) { return id >= 0; }));
  });
}
