// A corpus out of one book in one or more languages: text to pretrain on, text to validate on, and a labelled task to
// fine-tune on, with nothing of what is measured in what is trained on. README.md beside this file states the rules.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/corpus/handbook.h"

namespace tsugi {

struct CorpusOptions {
  /// Chapters number k, 2k, … (from 1, in reading order) are validation text, in every language.
  int validation_every = 7;
  /// The labelled task: at most that many chapters are its classes …
  int classes = 8;
  /// … with that many paragraphs each to train on …
  int train_per_class = 20;
  /// … and at most that many, from other sections, to validate on.
  int validation_per_class = 30;
  /// Code points in a paragraph of the task.
  int shortest = 200;
  int longest = 600;
};

struct Book {
  /// Names its files: "en-US".
  std::string language;
  std::vector<Chapter> chapters;
};

struct Example {
  std::string text;
  /// The chapter's title.
  std::string label;
};

/// One chapter's part of a split.
struct CorpusFile {
  /// "en-US.06-apt.txt": language, number and name of the chapter.
  std::string name;
  /// Sections, in order; each is a document.
  std::vector<std::string> documents;
};

struct Corpus {
  std::vector<CorpusFile> train;
  std::vector<CorpusFile> validation;
  /// Example by example through the classes: every prefix is as balanced as it can be.
  std::vector<Example> task_train;
  std::vector<Example> task_validation;
  /// Titles, by reading order.
  std::vector<std::string> labels;
  /// Sections of the first book that hold the task's validation paragraphs, and so are in no split.
  int64_t held_out_sections = 0;
  /// Paragraphs left out because the same text stands elsewhere.
  int64_t repeated_paragraphs = 0;
};

/// A pure function of the books; the task is made from the first. Throws Error(kData) when fewer than two chapters have
/// enough paragraphs for a class, or when a split stays empty.
Corpus make_corpus(const std::vector<Book>& books, const CorpusOptions& options);

/// Writes OUT/train/*.txt and OUT/validation/*.txt (a line with a form feed between documents) and
/// OUT/task/{train,validation}.jsonl ({"text": …, "label": …} a line). `folder` appears when it is complete: it must
/// not exist (Error(kUsage)). Throws Error(kInputOutput).
void write_corpus(const Corpus& corpus, const std::string& folder);

}  // namespace tsugi
