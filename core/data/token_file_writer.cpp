#include <glog/logging.h>

#include <algorithm>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "core/data/token_file.h"
#include "core/data/token_format.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kPiece = size_t{1} << 18;  // tokens converted before a write

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

/// Converts and writes in pieces.
template <class T>
void write_tokens(DurableFile& file, std::span<const int32_t> tokens, int64_t vocabulary, std::vector<T>& buffer) {
  for (size_t begin = 0; begin < tokens.size(); begin += kPiece) {
    const std::span<const int32_t> piece = tokens.subspan(begin, std::min(kPiece, tokens.size() - begin));
    buffer.resize(piece.size());
    for (size_t i = 0; i < piece.size(); ++i) {
      CHECK(piece[i] >= 0 && piece[i] < vocabulary) << "id " << piece[i] << " of a vocabulary of " << vocabulary;
      buffer[i] = static_cast<T>(piece[i]);
    }
    file.write(std::as_bytes(std::span(buffer)));
  }
}

}  // namespace

struct TokenFileWriter::Impl {
  Impl(const std::string& name, int64_t vocabulary) : path(name), file(name), documents_file(name + ".documents") {
    header.vocabulary = static_cast<uint64_t>(vocabulary);
    header.bytes_per_token = vocabulary <= 65536 ? 2 : 4;
    file.write(bytes_of(header));
  }

  std::string path;
  DurableFile file;
  DurableFile documents_file;
  TokenHeader header;
  std::vector<int64_t> starts;
  std::vector<uint16_t> narrow;
  std::vector<uint32_t> wide;
};

TokenFileWriter::TokenFileWriter(const std::string& path, int64_t vocabulary) {
  CHECK(vocabulary >= 1 && vocabulary <= kMaxVocabulary) << vocabulary;
  impl_ = std::make_unique<Impl>(path, vocabulary);
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::add_document(std::span<const int32_t> tokens) {
  if (tokens.empty()) return;
  Impl& self = *impl_;
  self.starts.push_back(static_cast<int64_t>(self.header.tokens));
  const auto vocabulary = static_cast<int64_t>(self.header.vocabulary);
  if (self.header.bytes_per_token == 2) {
    write_tokens(self.file, tokens, vocabulary, self.narrow);
  } else {
    write_tokens(self.file, tokens, vocabulary, self.wide);
  }
  self.header.tokens += tokens.size();
}

void TokenFileWriter::finish() {
  Impl& self = *impl_;
  if (self.header.tokens == 0) throw Error(ExitCode::kData, self.path + ": there are no tokens to write");
  DocumentHeader list;
  list.documents = self.starts.size();
  const std::span<const std::byte> starts = std::as_bytes(std::span(self.starts));
  list.checksum = crc32c(starts, crc32c(bytes_of(list.documents)));
  self.documents_file.write(bytes_of(list));
  self.documents_file.write(starts);
  self.header.documents = list.documents;
  self.header.documents_checksum = list.checksum;
  self.file.overwrite(0, bytes_of(self.header));
  // A crash between the two leaves a list that does not belong to the older tokens; the reader sees that.
  self.documents_file.commit();
  self.file.commit();
}

int64_t TokenFileWriter::tokens() const { return static_cast<int64_t>(impl_->header.tokens); }
int64_t TokenFileWriter::documents() const { return static_cast<int64_t>(impl_->starts.size()); }

}  // namespace tsugi
