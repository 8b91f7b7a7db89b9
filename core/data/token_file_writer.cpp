#include <glog/logging.h>

#include <algorithm>
#include <cstring>

#include "core/data/crc32c.h"
#include "core/data/file.h"
#include "core/data/token_file.h"
#include "core/data/token_format.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

/// Appends to a file in large pieces and keeps the checksum of all that follows its header.
class Body {
 public:
  Body(std::unique_ptr<DurableFile> file, std::span<const std::byte> header) : file_(std::move(file)) {
    if (file_->size() == 0) file_->write(header);
    header_bytes_ = static_cast<int64_t>(header.size());
    buffer_.reserve(kBufferBytes);
    // What a file held before is read once more.
    std::vector<std::byte> piece(kBufferBytes);
    for (int64_t offset = header_bytes_; offset < file_->size();) {
      const auto size = static_cast<size_t>(std::min<int64_t>(kBufferBytes, file_->size() - offset));
      file_->read_back(offset, std::span(piece).first(size));
      checksum_ = crc32c(std::span(piece).first(size), checksum_);
      offset += static_cast<int64_t>(size);
    }
  }

  template <class T>
  void append(T value) {
    const size_t size = buffer_.size();
    buffer_.resize(size + sizeof(T));
    std::memcpy(buffer_.data() + size, &value, sizeof(T));
    if (buffer_.size() + sizeof(T) > kBufferBytes) flush();
  }
  /// Ids as T, which they must fit.
  template <class T>
  void append_ids(std::span<const int32_t> ids) {
    while (!ids.empty()) {
      const size_t count = std::min(ids.size(), (kBufferBytes - buffer_.size()) / sizeof(T));
      const size_t size = buffer_.size();
      buffer_.resize(size + count * sizeof(T));
      T* out = reinterpret_cast<T*>(buffer_.data() + size);
      for (size_t i = 0; i < count; ++i) out[i] = static_cast<T>(ids[i]);
      ids = ids.subspan(count);
      if (buffer_.size() + sizeof(T) > kBufferBytes) flush();
    }
  }
  void flush() {
    file_->write(buffer_);
    checksum_ = crc32c(buffer_, checksum_);
    buffer_.clear();
  }
  void sync() {
    flush();
    file_->sync();
  }
  void commit(std::span<const std::byte> header) {
    flush();
    file_->overwrite(0, header);
    file_->commit();
  }
  /// Of what was flushed.
  uint32_t checksum() const { return checksum_; }
  int64_t bytes() const { return file_->size() - header_bytes_; }

 private:
  std::unique_ptr<DurableFile> file_;
  int64_t header_bytes_ = 0;
  std::vector<std::byte> buffer_;
  uint32_t checksum_ = 0;
};

std::string list_of(const std::string& path) { return path + ".documents"; }

}  // namespace

struct TokenFileWriter::Impl {
  Impl(const std::string& name, int64_t vocabulary, std::unique_ptr<DurableFile> file,
       std::unique_ptr<DurableFile> documents_file)
      : path(name),
        header{.bytes_per_token = vocabulary <= 65536 ? 2u : 4u, .vocabulary = static_cast<uint64_t>(vocabulary)},
        body(std::move(file), bytes_of(header)),
        starts(std::move(documents_file), bytes_of(DocumentHeader{})) {
    CHECK(vocabulary >= 1 && vocabulary <= kMaxVocabulary) << vocabulary;
  }

  void append(std::span<const int32_t> tokens) {
    const auto vocabulary = static_cast<int64_t>(header.vocabulary);
    for (const int32_t id : tokens) {
      CHECK(id >= 0 && id < vocabulary) << "id " << id << " of a vocabulary of " << vocabulary;
    }
    if (header.bytes_per_token == 2) {
      body.append_ids<uint16_t>(tokens);
    } else {
      body.append_ids<uint32_t>(tokens);
    }
    header.tokens += tokens.size();
  }

  std::string path;
  TokenHeader header;
  Body body;
  Body starts;
};

TokenFileWriter::TokenFileWriter(const std::string& path, int64_t vocabulary)
    : impl_(std::make_unique<Impl>(path, vocabulary, std::make_unique<DurableFile>(path),
                                   std::make_unique<DurableFile>(list_of(path)))) {}

TokenFileWriter::TokenFileWriter(const std::string& path, int64_t vocabulary, const TokenFileState& state) {
  const int64_t width = vocabulary <= 65536 ? 2 : 4;
  const int64_t size = state.tokens == 0 ? 0 : static_cast<int64_t>(sizeof(TokenHeader)) + state.tokens * width;
  const int64_t list_size = state.tokens == 0 ? 0
                                              : static_cast<int64_t>(sizeof(DocumentHeader)) +
                                                    state.documents * static_cast<int64_t>(sizeof(int64_t));
  impl_ = std::make_unique<Impl>(path, vocabulary, std::make_unique<DurableFile>(path, size),
                                 std::make_unique<DurableFile>(list_of(path), list_size));
  impl_->header.tokens = static_cast<uint64_t>(state.tokens);
  impl_->header.documents = static_cast<uint64_t>(state.documents);
  if (impl_->body.checksum() != state.token_checksum || impl_->starts.checksum() != state.start_checksum) {
    throw Error(ExitCode::kData, path + ".partial: its checksum is not the one that was noted");
  }
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::add_document(std::span<const int32_t> tokens) {
  if (tokens.empty()) return;
  impl_->starts.append(static_cast<int64_t>(impl_->header.tokens));
  ++impl_->header.documents;
  impl_->append(tokens);
}

void TokenFileWriter::extend_document(std::span<const int32_t> tokens) {
  CHECK_GT(impl_->header.documents, 0u) << impl_->path;
  impl_->append(tokens);
}

TokenFileState TokenFileWriter::sync() {
  impl_->body.sync();
  impl_->starts.sync();
  return {tokens(), documents(), impl_->body.checksum(), impl_->starts.checksum()};
}

uint32_t TokenFileWriter::finish() {
  Impl& self = *impl_;
  if (self.header.tokens == 0) throw Error(ExitCode::kData, self.path + ": there are no tokens to write");
  self.starts.flush();
  self.body.flush();
  DocumentHeader list;
  list.documents = self.header.documents;
  // As of one piece: the number of documents, then their starts.
  list.checksum = crc32c_combine(crc32c(bytes_of(list.documents)), self.starts.checksum(), self.starts.bytes());
  self.header.documents_checksum = list.checksum;
  // A crash between the two leaves a list that does not belong to the older tokens; the reader sees that.
  self.starts.commit(bytes_of(list));
  self.body.commit(bytes_of(self.header));
  return crc32c_combine(crc32c(bytes_of(self.header)), self.body.checksum(), self.body.bytes());
}

int64_t TokenFileWriter::tokens() const { return static_cast<int64_t>(impl_->header.tokens); }
int64_t TokenFileWriter::documents() const { return static_cast<int64_t>(impl_->header.documents); }

}  // namespace tsugi
