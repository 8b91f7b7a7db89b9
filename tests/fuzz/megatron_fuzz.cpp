// A Megatron index of any bytes beside tokens of any bytes: an Error, or tokens that can all be read, with documents in
// order.
//
// Input: u16 size of the tokens, the tokens, then the index. Without the magic at its start one is put there.
#include <cstring>

#include "core/data/token_file.h"
#include "tests/fuzz/fuzzing.h"

TSUGI_FUZZ_TARGET(megatron) {
  using namespace tsugi;
  static const fuzzing::MemoryFile tokens(".bin");
  static const fuzzing::MemoryFile index(".idx");
  const fuzzing::Input content = fuzzing::take_sized(input);
  std::vector<uint8_t> header(input.begin(), input.end());
  constexpr uint8_t kStart[17] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0, 1};
  if (header.size() >= sizeof(kStart) && header[0] % 2 == 0) std::memcpy(header.data(), kStart, sizeof(kStart));
  tokens.put(content);
  index.put(header);
  fuzzing::refuse_or([&] {
    const TokenFile file = TokenFile::open(index.path());
    CHECK_GT(file.tokens(), 0);
    CHECK_LE(static_cast<size_t>(file.tokens()), content.size());
    int64_t before = -1;
    for (const int64_t start : file.documents()) {
      CHECK(start > before && start < file.tokens()) << start;
      before = start;
    }
    std::vector<int32_t> ids(static_cast<size_t>(file.tokens()));
    file.read(0, int64_t{1} << 31, ids);
    CHECK(std::ranges::all_of(ids, [](int32_t id) { return id >= 0; }));
  });
}
