// BlockReader on any text: the documents do not depend on the size of the blocks, and begun again at any block it goes
// on with the same ones.
//
// Input: u8 size of the blocks, u8 flags (1: JSON lines; 2: documents may be cut; 4: no separator), then the text. The
// separator is "ab".
#include "core/data/prepare/blocks.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using namespace tsugi;

struct Read {
  std::vector<std::string> documents;
  std::vector<std::string> blocks;
  std::vector<BlockState> states;
};

Read read_blocks(const std::vector<InputFile>& files, const BlockOptions& options, BlockState start = {}) {
  Read result;
  BlockReader reader(files, options, start);
  TextBlock block;
  for (;;) {
    const BlockState state = reader.state();
    if (!reader.next(block)) return result;
    result.states.push_back(state);
    result.blocks.push_back(block.text);
    for (const TextPiece& piece : block.pieces) {
      const bool begins = piece.starts && !piece.lines;
      if (begins || result.documents.empty()) result.documents.emplace_back();
      result.documents.back() += block.text.substr(piece.begin, piece.length);
    }
  }
}

}  // namespace

TSUGI_FUZZ_TARGET(blocks) {
  static const fuzzing::MemoryFile file(".txt");
  if (input.size() < 3) return;
  const fuzzing::Input choices = fuzzing::take(input, 2);
  file.put(input);
  const std::vector<InputFile> files(
      2, InputFile{file.path(), (choices[1] & 1) != 0, static_cast<int64_t>(input.size()), 0});
  BlockOptions options{.separator = (choices[1] & 4) != 0 ? "" : "ab", .block_bytes = 1 << 20};
  options.cuttable = (choices[1] & 2) != 0;
  const Read whole = read_blocks(files, options);
  options.block_bytes = choices[0] % 64 + 1;
  const Read cut = read_blocks(files, options);
  CHECK(whole.documents == cut.documents);
  for (size_t i = 0; i < cut.states.size(); i += 3) {
    const Read rest = read_blocks(files, options, cut.states[i]);
    CHECK(std::vector<std::string>(cut.blocks.begin() + static_cast<std::ptrdiff_t>(i), cut.blocks.end()) ==
          rest.blocks);
  }
}
