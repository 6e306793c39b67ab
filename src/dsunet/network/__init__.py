"""The paper's figure: encoders, fusion, decoder and loss. Opens no file and asks no hub."""
