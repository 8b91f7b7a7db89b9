#!/usr/bin/env bash
# Pictures on real ranks: the same bits for any number of ranks and threads and after a resume; probed, exported,
# continued with labels; and what does not fit is refused before training.
. "$(dirname "$0")/lib.sh"

# idx EXTENTS…: the header of an IDX file.
idx() {
  printf '\0\0\10%b' "\\0$(printf '%o' $#)"
  local extent
  for extent; do printf '%b' "\\0$(printf '%o' $((extent >> 24 & 255)))\\0$(printf '%o' $((extent >> 16 & 255)))\\0$(printf '%o' $((extent >> 8 & 255)))\\0$(printf '%o' $((extent & 255)))"; done
}
mkdir -p "$WORK/raw"
{ idx 60 8 8; head -c 3840 /dev/urandom; } > "$WORK/raw/images-idx3-ubyte"
{ idx 60; for i in $(seq 1 60); do printf '%b' "\\0$((i % 3))"; done; } > "$WORK/raw/labels-idx1-ubyte"
printf 'zero\none\ntwo\n' > "$WORK/words"
expect_code 0 "$TSUGI" prepare-images --images "$WORK/raw/images-idx3-ubyte" --class-captions "$WORK/words" --out "$WORK/data" --validation-fraction 0.2 --json
expect_said '"train":48,"validation":12,"height":8,"width":8,"channels":1,"classes":\["0","1","2"\]'

make_image_config() {  # FILE OBJECTIVE [PATCH]
  cat > "$1" <<CONFIG
steps: 6
model { family: VIT layers: 2 heads: 2 width: 16 image_size: 8 patch_size: ${3:-4} image_channels: 1 dropout: 0.1 }
data { train: "$WORK/data" }
batch { micro_batch: 4 micro_batches: 6 }
optimizer { learning_rate: 3e-3 }
evaluation { every_steps: 3 }
checkpoint { every_steps: 3 }
dist { threads: 1 timeout_seconds: 60 }
objective { $2 }
CONFIG
}
make_image_config "$WORK/simclr" 'simclr { projection_width: 8 augmentation { smallest_crop: 0.4 flip: 0.5 blur: 0.5 } }'
make_image_config "$WORK/moco" 'moco { queue: 48 momentum: 0.9 projection_width: 8 augmentation { smallest_crop: 0.4 } }'
make_image_config "$WORK/clip" 'clip { projection_width: 8 text_layers: 1 text_heads: 2 text_width: 16 text_context: 6 }'
make_image_config "$WORK/cpc" 'cpc { steps: 2 projection_width: 8 }'
sed -i 's/patch_size: 4/patch_size: 4 bidirectional: false pooling: MEAN_OF_PATCHES/' "$WORK/cpc"
make_image_config "$WORK/rotation" 'rotation {}'
make_image_config "$WORK/labels" 'image_classification { augmentation { brightness: 0.2 } }'
make_image_config "$WORK/jigsaw" 'jigsaw { permutations: 6 augmentation { contrast: 0.2 } }'
make_image_config "$WORK/relative" 'relative_position { augmentation { flip: 0.5 } }' 2
make_image_config "$WORK/masked" 'masked_autoencoder { decoder_layers: 1 augmentation { flip: 0.5 } }'

train() {  # CONFIG RUN RANKS THREADS [--set …]
  local config=$1 run=$2 n=$3 threads=$4; shift 4
  ranks "$n" "$TSUGI" pretrain --config "$WORK/$config" --set "dist.threads=$threads" "$@" --out "$WORK/$run" --json \
    > "$WORK/$run.json" 2> "$WORK/$run.err" || { cat "$WORK/$run.err" >&2; fail "training $run"; }
}
for objective in simclr moco clip cpc rotation labels; do
  train "$objective" "$objective-1" 1 1
  for n in 2 3; do
    train "$objective" "$objective-$n" "$n" 2
    same_run "$WORK/$objective-1" "$WORK/$objective-$n"
  done
  train "$objective" "$objective-resumed" 2 1
  rm -r "$WORK/$objective-resumed/checkpoints/step-00000006"
  train "$objective" "$objective-resumed" 3 1
  same_run "$WORK/$objective-1" "$WORK/$objective-resumed"
  grep -q '"validation_accuracy":' "$WORK/$objective-1.json" || fail "no accuracy of $objective"
done

for objective in jigsaw relative masked; do
  train "$objective" "$objective-1" 1 1
  train "$objective" "$objective-resumed" 2 2
  same_run "$WORK/$objective-1" "$WORK/$objective-resumed"
  rm -r "$WORK/$objective-resumed/checkpoints/step-00000006"
  train "$objective" "$objective-resumed" 3 1
  same_run "$WORK/$objective-1" "$WORK/$objective-resumed"
done
expect_code 0 "$TSUGI" probe --checkpoint "$WORK/masked-1" --train "$WORK/data" --test "$WORK/data" --json

echo "- probed, exported, continued with labels"
run=$WORK/simclr-1
"$TSUGI" probe --checkpoint "$run" --train "$WORK/data" --test "$WORK/data" --neighbours 3 --threads 1 --json > "$WORK/one"
"$TSUGI" probe --checkpoint "$run" --train "$WORK/data" --test "$WORK/data" --neighbours 3 --threads 2 --json > "$WORK/two"
cmp "$WORK/one" "$WORK/two" || fail "threads change the probe"
grep -q '"width":16,"probe_examples":48,"train":48,"test":12' "$WORK/one" || fail "the probe sees the projector: $(cat "$WORK/one")"
expect_code 0 "$TSUGI" export --checkpoint "$run" --out "$WORK/exported" --json
expect_said '"model_type":"vit"'
! grep -q projector "$WORK/exported/model.safetensors" || fail "the projector was exported"
"$TSUGI" probe --checkpoint "$WORK/exported" --train "$WORK/data" --test "$WORK/data" --neighbours 3 --json > "$WORK/three"
cmp "$WORK/one" "$WORK/three" || fail "the exported model has other features"
train labels continued 2 1 --init-from "$WORK/exported"
grep -q ViTForImageClassification "$(last_checkpoint "$WORK/continued")/config.json" || fail "not a classifier"

echo "- embedded, and fine-tuned on few labels"
embed() { "$TSUGI" embed --checkpoint "$1" --images "$WORK/data" --part validation --out "$2" --json > "$WORK/said" || fail "embedding $1"; }
embed "$run" "$WORK/before"
expect_said '"rows":12,"width":16,"classes":\["0","1","2"\]'
[ "$(wc -c < "$WORK/before/features.npy")" = $((128 + 12 * 16 * 4)) ] || fail "features.npy"
[ "$(wc -c < "$WORK/before/labels.npy")" = $((128 + 12 * 4)) ] || fail "labels.npy"
grep -qE '^\{"row":11,"label":"[012]"\}$' "$WORK/before/rows.jsonl" || fail "rows.jsonl"
# tensor FILE NAME: its bytes in a safetensors file.
tensor() {
  local header offsets
  header=$(od -An -td8 -N8 "$1" | tr -d ' ')
  offsets=$(head -c $((8 + header)) "$1" | tail -c "$header" | grep -oE "\"$2\":\{[^}]*\}" | sed -E 's/.*"data_offsets":\[([0-9,]+)\].*/\1/')
  [ -n "$offsets" ] || fail "no tensor $2 in $1"
  dd if="$1" iflag=skip_bytes,count_bytes skip=$((8 + header + ${offsets%,*})) count=$((${offsets#*,} - ${offsets%,*})) status=none
}
tune() {  # RUN RANKS OPTIONS…
  local out=$WORK/$1 n=$2; shift 2
  ranks "$n" "$TSUGI" finetune --checkpoint "$run" --train "$WORK/data" --validation "$WORK/data" --per-class 5 --batch 8 \
    --epochs 3 --out "$out" "$@" --json > "$WORK/said" 2> "$WORK/err" || { cat "$WORK/err" >&2; fail "fine-tuning $out"; }
  expect_said '"labels":3,"train_examples":15,"validation_examples":12'
}
tune whole 1
tune whole-2 2
same_run "$WORK/whole" "$WORK/whole-2"
tune head 1 --linear-probe
tune upper 1 --freeze-layers 1
embed "$WORK/whole" "$WORK/changed"
! cmp -s "$WORK/before/features.npy" "$WORK/changed/features.npy" || fail "nothing was fine-tuned"
embed "$WORK/head" "$WORK/after"
cmp "$WORK/before/features.npy" "$WORK/after/features.npy" || fail "a linear probe changed the features"
base=$(last_checkpoint "$run")/model.safetensors upper=$(last_checkpoint "$WORK/upper")/model.safetensors
for name in vit.embeddings.cls_token vit.embeddings.position_embeddings vit.embeddings.patch_embeddings.projection.weight \
  vit.encoder.layer.0.output.dense.weight vit.encoder.layer.0.attention.attention.query.bias; do
  cmp <(tensor "$base" "$name") <(tensor "$upper" "$name") || fail "$name is frozen and changed"
done
! cmp -s <(tensor "$base" vit.layernorm.bias) <(tensor "$upper" vit.layernorm.bias) || fail "the final norm was not trained"
last=$(last_checkpoint "$WORK/whole")
grep -q ViTForImageClassification "$last/config.json" && [ -e "$last/preprocessor_config.json" ] || fail "not a classifier of images"

expect_code 0 "$TSUGI" plan --config "$WORK/simclr" --ranks 2 --json
expect_said '"comparison":[1-9]'

expect_code 0 "$TSUGI" plan --config "$WORK/moco" --json
expect_said '"objective_state":[1-9]'
expect_code 0 "$TSUGI" export --checkpoint "$WORK/moco-1" --out "$WORK/of-moco"
! grep -qE 'key_encoder|queue' "$WORK/of-moco/model.safetensors" || fail "the second encoder was exported"

echo "- words and pictures, exported"
clip() { expect_code "$1" "$TSUGI" export --checkpoint "$WORK/$2" --as "$3" --out "$WORK/of-clip-$3" --json; }
clip 0 clip-1 text
expect_said '"model_type":"clip_text_model"'
cmp <(tensor "$(last_checkpoint "$WORK/clip-1")/model.safetensors" objective.text_projection.weight) \
  <(tensor "$WORK/of-clip-text/model.safetensors" text_projection.weight) || fail "another projection of captions"
ids=$(printf one | "$TSUGI" tokenizer encode --tokenizer "$WORK/of-clip-text" --json)
[[ $ids == *'[111,110,101,256]'* ]] || fail "captions are bytes and their end, not $ids"
clip 0 clip-1 dual-encoder
expect_said '"model_type":"vision-text-dual-encoder"'
for name in logit_scale vision_model.pooler.dense.weight text_model.encoder.layers.0.self_attn.v_proj.bias visual_projection.weight; do
  tensor "$WORK/of-clip-dual-encoder/model.safetensors" "$name" > /dev/null
done
clip 2 simclr-1 text
expect_said 'not trained with objective.clip'
sed 's/patch_size: 4/patch_size: 4 pooling: MEAN_OF_PATCHES/' "$WORK/clip" > "$WORK/clip-mean"
train clip-mean clip-mean-1 1 1
rm -r "$WORK/of-clip-dual-encoder"
clip 2 clip-mean-1 dual-encoder
expect_said 'MEAN_OF_PATCHES is nothing that'

echo "- refused before training"
expect_code 2 "$TSUGI" pretrain --config "$WORK/moco" --set objective.moco.queue=50 --out "$WORK/no"
expect_said 'objective.moco.queue.*is not a multiple of the global batch, 24'
expect_code 3 "$TSUGI" pretrain --config "$WORK/clip" --set "data.train=$WORK/raw/images-idx3-ubyte" --out "$WORK/no"
expect_said 'has no captions'
expect_code 2 "$TSUGI" pretrain --config "$WORK/simclr" --set batch.micro_batch=1 --out "$WORK/no"
expect_said 'two negatives'
expect_code 3 "$TSUGI" pretrain --config "$WORK/simclr" --set batch.micro_batch=16 --out "$WORK/no"
expect_said 'its own negative'
expect_code 2 "$TSUGI" pretrain --config "$WORK/rotation" --set compute.device=CUDA --out "$WORK/no"
expect_code 3 "$TSUGI" pretrain --config "$WORK/rotation" --set model.image_channels=3 --out "$WORK/no"
expect_said 'set model.image_channels: 1'
few=(finetune --checkpoint "$run" --train "$WORK/data" --validation "$WORK/data" --out "$WORK/no")
expect_code 3 "$TSUGI" "${few[@]}" --per-class 30
expect_said 'class "[012]" has [0-9]+ examples, fewer than 30'
expect_code 2 "$TSUGI" "${few[@]}" --task language-modelling
expect_said 'holds a model of images: --task language-modelling is learnt from texts'
expect_code 2 "$TSUGI" "${few[@]}" --baselines
expect_code 3 "$TSUGI" embed --checkpoint "$run" --texts "$WORK/none.jsonl" --out "$WORK/no"
expect_said 'it reads no texts'
expect_code 2 "$TSUGI" pretrain --config "$WORK/jigsaw" --set objective.jigsaw.tiles=3 --out "$WORK/no"
expect_said 'a tile is made of whole patches'
mkdir "$WORK/mixed"
pictures=$(dirname "$0")/../golden/images
cp "$pictures/colour.png" "$pictures/grey.jpg" "$WORK/mixed"
head -c 100 "$pictures/colour.png" > "$WORK/mixed/damaged.png"
expect_code 3 "$TSUGI" pretrain --config "$WORK/rotation" --set "data.train=$WORK/mixed" --out "$WORK/no"
expect_said 'damaged.png: is damaged'
cp "$pictures/colour.png" "$WORK/mixed/damaged.png"
expect_code 3 "$TSUGI" pretrain --config "$WORK/labels" --set "data.train=$WORK/mixed" --set model.image_channels=3 --out "$WORK/no"
expect_said 'has no labels'
[ ! -e "$WORK/no/checkpoints" ] || fail "something was trained"
echo "images: passed"
