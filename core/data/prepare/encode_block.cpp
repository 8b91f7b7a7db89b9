#include "core/data/prepare/encode_block.h"

#include <memory>

#include "core/data/prepare/block_wire.h"
#include "core/data/prepare/documents.h"
#include "ops/base/error.h"

namespace tsugi {

Error changed_file(const std::string& path) {
  return Error(ExitCode::kData, path + ": the file changed while it was read");
}

EncodedBlock encode_block(const EncodeBlockJob& job, const std::vector<uint8_t>& kept, TextBlock block) {
  EncodedBlock result;
  bool parts = false;
  for_each_document(block, *job.files, job.field, job.max_line, [&](const DocumentPiece& piece) {
    if (piece.empty()) return;
    const auto index = static_cast<size_t>(piece.number - block.first_document);
    if (index >= kept.size()) throw changed_file((*job.files)[piece.file].path);
    EncodedPiece one{.number = piece.number,
                     .begin = result.ids.size(),
                     .text_bytes = static_cast<int64_t>(piece.text.size()),
                     .file = piece.file,
                     .line = piece.line,
                     .place = piece.place,
                     .starts = piece.starts,
                     .ends = piece.ends};
    if (piece.starts && piece.ends) {
      DocumentHash hash;
      hash.update(piece.text);
      one.whole = hash.record();
    } else {
      parts = true;
      one.text_begin = static_cast<size_t>(piece.text.data() - block.text.data());
    }
    if (kept[index] != 0) {
      try {
        const std::vector<int32_t> ids = job.tokenizer->encode(piece.text, kDocumentText);
        result.ids.insert(result.ids.end(), ids.begin(), ids.end());
      } catch (const Error& error) {
        throw Error(error.code(), place_of(*job.files, piece) + ": " + error.what(), error.hint());
      }
      if (piece.ends && job.end_of_text) result.ids.push_back(*job.end_of_text);
    }
    one.count = result.ids.size() - one.begin;
    result.pieces.push_back(one);
  });
  if (parts) result.text = std::move(block.text);
  return result;
}

void begin_encoding(HelperRanks& helpers, const EncodeBlockJob& job) {
  WireWriter setup;
  setup.put(PrepareWork::kEncode);
  put_files(setup, *job.files);
  setup.put_text(job.field);
  setup.put(job.max_line);
  setup.put_text(job.tokenizer->to_json());
  setup.put(job.end_of_text.value_or(-1));
  helpers.begin(setup.take());
}

EncodedBlock ask_to_encode(HelperRanks& helpers, const std::vector<uint8_t>& kept, const TextBlock& block) {
  WireWriter request;
  request.put_list(kept);
  put_block(request, block);
  const std::string answer = helpers.ask(request.take());
  WireReader reader(answer);
  EncodedBlock result;
  result.ids = reader.list<int32_t>();
  result.pieces = reader.list<EncodedPiece>();
  result.text = reader.text();
  return result;
}

RequestWork encode_work(std::string_view setup) {
  struct Owned {
    std::vector<InputFile> files;
    std::unique_ptr<Tokenizer> tokenizer;
    EncodeBlockJob job;
  };
  const auto owned = std::make_shared<Owned>();
  WireReader reader(setup);
  reader.get<PrepareWork>();
  owned->files = files_of(reader);
  owned->job.files = &owned->files;
  owned->job.field = reader.text();
  owned->job.max_line = reader.get<int64_t>();
  owned->tokenizer = parse_tokenizer(std::string(reader.text()), kTokenizerOfRank0);
  owned->job.tokenizer = owned->tokenizer.get();
  if (const auto token = reader.get<int32_t>(); token >= 0) owned->job.end_of_text = token;
  return [owned](std::string_view request) {
    WireReader parts(request);
    const auto kept = parts.list<uint8_t>();
    const EncodedBlock block = encode_block(owned->job, kept, block_of(parts));
    WireWriter answer;
    answer.put_list(block.ids);
    answer.put_list(block.pieces);
    answer.put_text(block.text);
    return answer.take();
  };
}

}  // namespace tsugi
