"""
Recurrent models with attention as full members of the Hugging Face ecosystem.

Importing it makes `AutoModel`, `AutoProcessor` and `pipeline` of transformers know the models and tasks it has.
"""
