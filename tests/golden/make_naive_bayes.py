"""Golden values of core/downstream/baselines.h: scikit-learn's MultinomialNB over counts of byte n-grams 1 … 4.

Writes naive_bayes.json: training texts with labels, test texts, and for each of these the joint log-probability of
every class. Needs scikit-learn. Run: python make_naive_bayes.py
"""
import json
import os

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB


def ngrams(text):
    data = text.encode("utf-8")
    return [data[i:i + n] for n in range(1, 5) for i in range(len(data) - n + 1)]


train = [
    ("apt installs packages and their dependencies", 0), ("dpkg unpacks one package", 0), ("apt update, then apt upgrade", 0),
    ("the kernel schedules processes", 1), ("a process waits for the kernel  twice", 1),
    ("漢字 and kana: パッケージ", 2), ("ab", 2), ("package\tand\nkernel", 2),
]
test = ["apt", "the kernel of a package", "パッケージ", "", "zzzz", "a", "dpkg waits for apt, the process for dpkg",
        "and and and and\n\nand"]

vectorizer = CountVectorizer(analyzer=ngrams)
model = MultinomialNB(alpha=1.0).fit(vectorizer.fit_transform([text for text, _ in train]), [label for _, label in train])
joint = model.predict_joint_log_proba(vectorizer.transform(test))
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "naive_bayes.json")
with open(path, "w", encoding="utf-8") as file:
    json.dump({"train": [{"text": t, "label": l} for t, l in train], "ngrams": len(vectorizer.vocabulary_),
               "test": [{"text": t, "log_joint": [float(x) for x in row]} for t, row in zip(test, joint)]},
              file, ensure_ascii=False, indent=1)
    file.write("\n")
print(path, os.path.getsize(path), "bytes")
