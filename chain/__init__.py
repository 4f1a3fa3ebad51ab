"""What Solana did. So far its keys: Ed25519 signatures in base58, as its wallets write them."""
