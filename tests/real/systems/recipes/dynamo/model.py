"""A model of two small files: a tokenizer of 400 words, and its configuration. `model.py FOLDER`."""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

folder = Path(sys.argv[1])
folder.mkdir()
words = ["<unk>", "<s>", "</s>", "hi", "there", *(f"w{number}" for number in range(395))]
tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
tokenizer.pre_tokenizer = Whitespace()
tokenizer.save(str(folder / "tokenizer.json"))
config = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
(folder / "config.json").write_text(json.dumps(config))
template = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "chat_template": template}
settings["tokenizer_class"] = "PreTrainedTokenizerFast"
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
